#include "aggregation/lora_rules.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/random.h"

namespace rivulet {
namespace {

Manifest Pair(const std::string& module, int64_t m, int64_t n, int64_t r) {
  return {{module + ".lora_A.weight", DType::kF32, {r, n}},
          {module + ".lora_B.weight", DType::kF32, {m, r}}};
}

void FillGauss(ParameterSet& set, uint64_t seed, float scale) {
  const RandomStream stream(seed, Purpose::kSketch, 1);
  for (size_t tensor = 0; tensor < set.size(); ++tensor) {
    stream.FillGauss(static_cast<uint32_t>(tensor), set.floats(tensor));
    for (float& value : set.floats(tensor)) value *= scale;
  }
}

// The metric by its definition, with the m x n products built.
double DenseBias(const ParameterSet& global, const std::vector<WeightedUpdate>& updates) {
  const int64_t r = global.manifest()[0].shape[0], n = global.manifest()[0].shape[1];
  const int64_t m = global.manifest()[1].shape[0];
  double weights = 0;
  for (const WeightedUpdate& update : updates) weights += static_cast<double>(update.weight);
  std::vector<double> mean_a(r * n), mean_b(m * r), exact(m * n), averaged(m * n);
  const auto product = [&](const std::vector<double>& a, const std::vector<double>& b, double p,
                           std::vector<double>& out) {
    for (int64_t row = 0; row < m; ++row)
      for (int64_t col = 0; col < n; ++col)
        for (int64_t q = 0; q < r; ++q) out[row * n + col] += p * b[row * r + q] * a[q * n + col];
  };
  for (const WeightedUpdate& update : updates) {
    const double p = static_cast<double>(update.weight) / weights;
    std::vector<double> a(r * n), b(m * r);
    for (int64_t at = 0; at < r * n; ++at) {
      a[at] = static_cast<double>(global.floats(0)[at]) + update.values[0][at];
      mean_a[at] += p * a[at];
    }
    for (int64_t at = 0; at < m * r; ++at) {
      b[at] = static_cast<double>(global.floats(1)[at]) + update.values[1][at];
      mean_b[at] += p * b[at];
    }
    product(a, b, p, exact);
  }
  product(mean_a, mean_b, 1, averaged);
  double lost = 0, whole = 0;
  for (int64_t at = 0; at < m * n; ++at) {
    lost += (averaged[at] - exact[at]) * (averaged[at] - exact[at]);
    whole += exact[at] * exact[at];
  }
  return std::sqrt(lost / whole);
}

struct Clients {
  ParameterSet global;
  std::vector<ParameterSet> sets;
  std::vector<WeightedUpdate> updates;

  Clients(const Manifest& manifest, size_t count, float spread) : global(manifest) {
    FillGauss(global, 1, 1.0f);
    for (size_t client = 0; client < count; ++client) {
      sets.emplace_back(manifest);
      FillGauss(sets.back(), 2 + client, spread);
    }
    for (size_t client = 0; client < count; ++client) {
      updates.push_back({ViewOf(sets[client]), static_cast<int64_t>(1 + 3 * client)});
    }
  }
};

TEST(FactorBias, EqualsTheDenseDefinition) {
  for (const float spread : {1e-3f, 0.3f, 1.0f}) {
    const Clients clients(Pair("q", 36, 28, 4), 4, spread);
    const auto report = FactorBias(clients.global, clients.updates);
    ASSERT_TRUE(report.ok()) << report.status();
    const double dense = DenseBias(clients.global, clients.updates);
    EXPECT_NEAR(report->total, dense, 1e-9 * dense + 1e-15) << spread;
    EXPECT_EQ(report->modules[0].module, "q");
    EXPECT_EQ(report->modules[0].bias, report->total);
  }
}

// The smallest example: B1 = A1 = [1], B2 = A2 = [-1]. The mean product is 1, averaging gives 0.
TEST(FactorBias, PlusAndMinusOneLoseEverything) {
  const ParameterSet global(Pair("w", 1, 1, 1));
  ParameterSet plus = global, minus = global;
  plus.floats(0)[0] = plus.floats(1)[0] = 1.0f;
  minus.floats(0)[0] = minus.floats(1)[0] = -1.0f;
  const std::vector<WeightedUpdate> updates = {{ViewOf(plus), 5}, {ViewOf(minus), 5}};
  EXPECT_DOUBLE_EQ(FactorBias(global, updates)->total, 1.0);
}

TEST(FactorBias, IdenticalClientsLoseNothing) {
  const Clients clients(Pair("q", 6, 5, 2), 1, 0.5f);
  std::vector<WeightedUpdate> same(4, clients.updates[0]);
  EXPECT_LT(FactorBias(clients.global, same)->total, 1e-15);
}

TEST(FactorBias, AFrozenFactorMakesAveragingExact) {
  Clients clients(Pair("q", 6, 5, 2), 5, 0.5f);
  for (ParameterSet& set : clients.sets) {
    for (float& value : set.floats(0)) value = 0;
  }
  EXPECT_LT(FactorBias(clients.global, clients.updates)->total, 1e-15);
}

TEST(FactorBias, ModulesTogetherAreWeighedByTheirNorms) {
  Manifest manifest = Pair("k", 8, 8, 2);
  for (TensorSpec& spec : Pair("q", 16, 4, 2)) manifest.push_back(spec);
  const Clients clients(manifest, 3, 0.4f);
  const auto report = FactorBias(clients.global, clients.updates);
  ASSERT_EQ(report->modules.size(), 2u);
  const double low = std::min(report->modules[0].bias, report->modules[1].bias);
  const double high = std::max(report->modules[0].bias, report->modules[1].bias);
  EXPECT_GT(report->total, low);
  EXPECT_LT(report->total, high);
}

TEST(FactorBias, NothingToMeasureAndShapesThatDoNotFitAreErrors) {
  const Clients clients(Pair("q", 6, 5, 2), 2, 0.5f);
  EXPECT_EQ(FactorBias(clients.global, {}).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(FactorBias(ParameterSet(Manifest{{"w", DType::kF32, {2}}}), {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  const Clients wider(Pair("q", 6, 7, 2), 2, 0.5f);
  EXPECT_EQ(FactorBias(clients.global, wider.updates).status().message(),
            "q.lora_A.weight: got 14 values, want 10");
}

TEST(LoraPairs, AFactorAloneOrOfAnotherRankIsNamed) {
  Manifest manifest = Pair("q", 6, 5, 2);
  EXPECT_EQ(LoraPairsOf({manifest[0]}).status().message(),
            "q.lora_A.weight: got no partner, want q.lora_B.weight");
  manifest[1].shape = {6, 3};
  EXPECT_EQ(LoraPairsOf(manifest).status().message(),
            "LoRA pair: got q.lora_A.weight F32 [2,5] and q.lora_B.weight F32 [6,3], want F32 "
            "[r,n] and [m,r]");
}

}  // namespace
}  // namespace rivulet
