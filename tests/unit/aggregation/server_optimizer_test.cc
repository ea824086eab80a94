#include "aggregation/server_optimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "common/random.h"

namespace rivulet {
namespace {

StrategySection Named(std::string_view name) {
  StrategySection strategy;
  strategy.name = std::string(name);
  return strategy;
}

std::unique_ptr<ServerOptimizer> Make(const StrategySection& strategy, const Manifest& manifest) {
  auto made = MakeServerOptimizer(strategy, manifest);
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

const Manifest& TwoTensors() {
  static const Manifest manifest = {{"a", DType::kF32, {3, 5}}, {"b", DType::kF32, {100}}};
  return manifest;
}

ParameterSet RandomSet(uint64_t seed, float scale) {
  ParameterSet set(TwoTensors());
  const RandomStream stream(seed, Purpose::kSketch, 0);
  for (size_t tensor = 0; tensor < set.size(); ++tensor) {
    stream.FillUniform(static_cast<uint32_t>(tensor), set.floats(tensor));
    for (float& value : set.floats(tensor)) value *= scale;
  }
  return set;
}

// Every server optimiser keeps this contract; a new row joins by itself.
class ServerOptimizerContract : public testing::TestWithParam<std::string_view> {
 protected:
  std::unique_ptr<ServerOptimizer> optimizer_ = Make(Named(GetParam()), TwoTensors());
};

TEST_P(ServerOptimizerContract, CarriesItsName) { EXPECT_EQ(optimizer_->name(), GetParam()); }

TEST_P(ServerOptimizerContract, AnotherManifestIsRefusedAndChangesNothing) {
  ParameterSet global = RandomSet(1, 1.0f);
  ASSERT_TRUE(optimizer_->Apply(RandomSet(2, 0.1f), global).ok());
  const std::string model = global.HashHex();
  const std::string state = optimizer_->State().HashHex();
  Manifest other = TwoTensors();
  other[1].shape = {99};
  EXPECT_EQ(optimizer_->Apply(ParameterSet(other), global).code(),
            absl::StatusCode::kInvalidArgument);
  ParameterSet small(other);
  EXPECT_EQ(optimizer_->Apply(RandomSet(2, 0.1f), small).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(global.HashHex(), model);
  EXPECT_EQ(optimizer_->State().HashHex(), state);
}

TEST_P(ServerOptimizerContract, AResultThatIsNotFiniteIsNamedAndChangesNothing) {
  ParameterSet global = RandomSet(1, 1.0f);
  const std::string model = global.HashHex();
  const std::string state = optimizer_->State().HashHex();
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    ParameterSet mean = RandomSet(2, 0.1f);
    mean.floats(1)[42] = bad;
    const absl::Status refused = optimizer_->Apply(mean, global);
    EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
    EXPECT_NE(refused.message().find("b[42]"), std::string::npos) << refused;
    EXPECT_EQ(global.HashHex(), model);
    EXPECT_EQ(optimizer_->State().HashHex(), state);
  }
}

TEST_P(ServerOptimizerContract, ARestartFromACheckpointContinuesWithTheSameBits) {
  ParameterSet undisturbed = RandomSet(1, 1.0f);
  ParameterSet interrupted = undisturbed;
  for (uint64_t round = 0; round < 6; ++round) {
    ASSERT_TRUE(optimizer_->Apply(RandomSet(10 + round, 0.3f), undisturbed).ok());
  }
  auto before = Make(Named(GetParam()), TwoTensors());
  for (uint64_t round = 0; round < 3; ++round) {
    ASSERT_TRUE(before->Apply(RandomSet(10 + round, 0.3f), interrupted).ok());
  }
  auto after = Make(Named(GetParam()), TwoTensors());
  ASSERT_TRUE(after->Restore(before->State()).ok());
  for (uint64_t round = 3; round < 6; ++round) {
    ASSERT_TRUE(after->Apply(RandomSet(10 + round, 0.3f), interrupted).ok());
  }
  EXPECT_EQ(interrupted.HashHex(), undisturbed.HashHex());
  EXPECT_EQ(after->State().HashHex(), optimizer_->State().HashHex());
}

TEST_P(ServerOptimizerContract, TheStateOfAnotherIsRefused) {
  const std::string before = optimizer_->State().HashHex();
  ParameterSet foreign(Manifest{{"other.v:a", DType::kF32, {3, 5}}});
  EXPECT_EQ(optimizer_->Restore(foreign).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(optimizer_->State().HashHex(), before);
}

TEST_P(ServerOptimizerContract, ItsStateIsSortedAsManifestsAre) {
  const Manifest& rows = optimizer_->State().manifest();
  for (size_t row = 1; row < rows.size(); ++row) EXPECT_LT(rows[row - 1].name, rows[row].name);
}

TEST_P(ServerOptimizerContract, IntegersAreNotTuned) {
  EXPECT_EQ(MakeServerOptimizer(Named(GetParam()), {{"n", DType::kI32, {1}}}).status().message(),
            "n: got dtype I32, want F32");
}

// `set` with every tensor cut into vectors of at most `most`.
ParameterSet Cut(const ParameterSet& set, size_t most) {
  Manifest manifest;
  std::vector<std::span<const float>> pieces;
  for (size_t tensor = 0; tensor < set.size(); ++tensor) {
    std::span<const float> left = set.floats(tensor);
    for (char part = 'a'; !left.empty(); ++part) {
      pieces.push_back(left.first(std::min(most, left.size())));
      left = left.subspan(pieces.back().size());
      manifest.push_back({set.manifest()[tensor].name + part,
                          DType::kF32,
                          {static_cast<int64_t>(pieces.back().size())}});
    }
  }
  ParameterSet cut(manifest);
  for (size_t row = 0; row < cut.size(); ++row) {
    std::copy(pieces[row].begin(), pieces[row].end(), cut.floats(row).begin());
  }
  return cut;
}

TEST_P(ServerOptimizerContract, LargeTensorsOnAllCoresMoveAsTheirPartsOnOne) {
  const Manifest uneven = {{"a", DType::kF32, {(1 << 20) + 1}},
                           {"b", DType::kF32, {7}},
                           {"c", DType::kF32, {(1 << 19) + 3}}};
  constexpr size_t kOfOneThread = 1 << 17;
  ParameterSet global(uneven), mean(uneven);
  const RandomStream stream(9, Purpose::kSketch, 0);
  for (size_t tensor = 0; tensor < uneven.size(); ++tensor) {
    stream.FillUniform(static_cast<uint32_t>(tensor), global.floats(tensor));
    stream.FillUniform(static_cast<uint32_t>(tensor + 3), mean.floats(tensor));
  }
  ParameterSet parts = Cut(global, kOfOneThread);
  const ParameterSet mean_parts = Cut(mean, kOfOneThread);
  const auto whole_optimizer = Make(Named(GetParam()), uneven);
  const auto parts_optimizer = Make(Named(GetParam()), parts.manifest());
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(whole_optimizer->Apply(mean, global).ok());
    ASSERT_TRUE(parts_optimizer->Apply(mean_parts, parts).ok());
  }
  EXPECT_EQ(Cut(global, kOfOneThread).HashHex(), parts.HashHex());
}

INSTANTIATE_TEST_SUITE_P(All, ServerOptimizerContract, testing::ValuesIn(ServerOptimizerNames()),
                         [](const auto& p) { return std::string(p.param); });

TEST(MakeServerOptimizer, AnUnknownNameListsTheKnownOnes) {
  const absl::Status refused = MakeServerOptimizer(Named("fedsgd"), {}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(refused.message(),
            "strategy.name: got 'fedsgd', want one of: fedavg fedavgm fedadam fedyogi fedadagrad");
}

// The reference vectors of the design (algorithms.md, section 3): x0 = (1, -2), mean updates
// (0.1, -0.2), (0.05, 0.4), (-0.3, 0), eta 0.1 (1 for the first two), beta1 0.9, beta2 0.99,
// tau 1e-3, v0 = tau^2; computed there in binary64 and printed with 9 digits. The test models are
// F64 so that nothing is rounded on the way.
struct Vectors {
  std::string label;
  StrategySection strategy;
  double after[3][2];
};

StrategySection With(std::string_view name, double rate, double beta1) {
  StrategySection strategy = Named(name);
  strategy.server_learning_rate = rate;
  strategy.server_beta1 = beta1;
  return strategy;
}

const std::vector<Vectors>& ReferenceVectors() {
  static const std::vector<Vectors> vectors = {
      {"fedavg", Named("fedavg"), {{1.1, -2.2}, {1.15, -1.8}, {0.85, -1.8}}},
      {"fedavgm", Named("fedavgm"), {{1.1, -2.2}, {1.24, -1.98}, {1.066, -1.782}}},
      {"fedadagrad_by_default",
       Named("fedadagrad"),
       {{1.099005000, -2.099501250}, {1.143328148, -2.010258307}, {1.049916117, -2.010258307}}},
      {"fedadagrad_with_momentum",
       With("fedadagrad", 0.1, 0.9),
       {{1.009900500, -2.009950125}, {1.022310982, -2.005041763}, {1.016893084, -2.000624237}}},
      {"fedadam_by_default",
       Named("fedadam"),
       {{1.090502831, -2.095126052}, {1.205450551, -2.046972925}, {1.152716544, -2.003421585}}},
      {"fedyogi",
       With("fedyogi", 0.1, 0.9),
       {{1.090498756, -2.095124922}, {1.205018444, -2.047019130}, {1.152341031, -2.003723917}}},
  };
  return vectors;
}

class ReferenceVector : public testing::TestWithParam<Vectors> {};

TEST_P(ReferenceVector, ThreeRoundsMatchToNineDigits) {
  constexpr double kMeans[3][2] = {{0.1, -0.2}, {0.05, 0.4}, {-0.3, 0.0}};
  const Manifest manifest = {{"x", DType::kF64, {2}}};
  const auto optimizer = Make(GetParam().strategy, manifest);
  ParameterSet global(manifest), mean(manifest);
  const double start[2] = {1, -2};
  std::memcpy(global.bytes(0).data(), start, sizeof(start));
  for (int round = 0; round < 3; ++round) {
    std::memcpy(mean.bytes(0).data(), kMeans[round], sizeof(kMeans[round]));
    ASSERT_TRUE(optimizer->Apply(mean, global).ok());
    double got[2];
    std::memcpy(got, global.bytes(0).data(), sizeof(got));
    EXPECT_NEAR(got[0], GetParam().after[round][0], 1e-9) << "round " << round + 1;
    EXPECT_NEAR(got[1], GetParam().after[round][1], 1e-9) << "round " << round + 1;
  }
}

INSTANTIATE_TEST_SUITE_P(Design, ReferenceVector, testing::ValuesIn(ReferenceVectors()),
                         [](const auto& p) { return p.param.label; });

// 0.01 * 0.1 * 0.1 / (sqrt(1e-6 + 0.01 * 0.01) + 1e-3): FedYogi's own rate, worked by hand.
TEST(FedYogi, DefaultRateIsItsOwn) {
  const Manifest manifest = {{"x", DType::kF64, {1}}};
  const auto optimizer = Make(Named("fedyogi"), manifest);
  ParameterSet global(manifest), mean(manifest);
  const double delta = 0.1;
  std::memcpy(mean.bytes(0).data(), &delta, sizeof(delta));
  ASSERT_TRUE(optimizer->Apply(mean, global).ok());
  double got = 0;
  std::memcpy(&got, global.bytes(0).data(), sizeof(got));
  EXPECT_NEAR(got, 0.01 * 0.01 / (std::sqrt(1e-6 + 1e-4) + 1e-3), 1e-15);
}

}  // namespace
}  // namespace rivulet
