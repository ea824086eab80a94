// Attack x rule x {iid, Dirichlet 0.1} x share of liars on a toy of 64 parameters. Seeds are fixed,
// so the numbers are too; what is asserted holds with room to spare.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <map>

#include "aggregation/robust/gate.h"
#include "aggregation/robust/groups.h"
#include "aggregation/robust/rule.h"
#include "tests/unit/aggregation/robust/attacks.h"
#include "tests/unit/aggregation/robust/cohort.h"

namespace rivulet {
namespace {

constexpr size_t kDimension = 64;
constexpr size_t kClasses = 10;
constexpr int kRounds = 50;
constexpr double kRate = 0.3;    // an honest update is kRate (t_c - x) and a little noise
constexpr double kNoise = 0.02;  // of an honest update, for each coordinate
constexpr double kWithin = 0.5;  // squared deviation of a client's data, for each coordinate
constexpr double kClip = 4;

// Client c has its optimum t_c at (3, .., 3) plus the mean of its classes' centres; the loss of a
// model is the mean over the honest clients of (|x - t_c|^2 + within-client variance) / 2.
class Toy {
 public:
  Toy(size_t n, bool dirichlet, uint64_t seed) : seed_(seed) {
    Vectors centres = GaussRows(kClasses, kDimension, seed + 1000);
    RandomCursor cursor(RandomStream(seed, Purpose::kPartition, 0));
    for (size_t client = 0; client < n; ++client) {
      std::vector<double> shares(kClasses, 1.0 / kClasses);
      if (dirichlet) shares = DirichletTenth(cursor);
      targets_.emplace_back(kDimension, 3.0f);
      for (size_t label = 0; label < kClasses; ++label) {
        for (size_t at = 0; at < kDimension; ++at) {
          targets_[client][at] += static_cast<float>(shares[label] * centres[label][at]);
        }
      }
      std::vector<float> own(kDimension);
      RandomStream(seed, Purpose::kSketch, client + 1).FillGauss(0, own);
      for (size_t at = 0; at < kDimension; ++at) targets_[client][at] += 0.2f * own[at];
    }
  }

  size_t n() const { return targets_.size(); }

  Vectors Updates(const std::vector<float>& x, int round) const {
    Vectors updates = targets_;
    for (size_t client = 0; client < n(); ++client) {
      std::vector<float> noise(kDimension);
      RandomStream(seed_, Purpose::kDataOrder, static_cast<uint64_t>(round))
          .FillGauss(static_cast<uint32_t>(client), noise);
      for (size_t at = 0; at < kDimension; ++at) {
        updates[client][at] =
            static_cast<float>(kRate * (targets_[client][at] - x[at]) + kNoise * noise[at]);
      }
    }
    return updates;
  }

  // Over clients [bad, n).
  double Loss(const std::vector<float>& x, size_t bad) const {
    double sum = 0;
    for (size_t client = bad; client < n(); ++client) {
      for (size_t at = 0; at < kDimension; ++at) {
        sum += std::pow(static_cast<double>(x[at]) - targets_[client][at], 2) + kWithin;
      }
    }
    return sum / (2.0 * static_cast<double>(n() - bad));
  }

 private:
  // Gamma(0.1) variates by x = u^(1/a) g, g of shape a + 1 (Marsaglia and Tsang 2000), normalised.
  static std::vector<double> DirichletTenth(RandomCursor& cursor) {
    std::vector<double> shares(kClasses);
    double sum = 0;
    for (double& share : shares) {
      share = std::pow(cursor.Unit() + 0x1p-25, 1 / 0.1) * GammaAboveOne(cursor, 1.1);
      sum += share;
    }
    for (double& share : shares) share /= sum;
    return shares;
  }
  static double GammaAboveOne(RandomCursor& cursor, double shape) {
    const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    while (true) {
      const double u1 = cursor.Unit() + 0x1p-25, u2 = cursor.Unit();
      const double x = std::sqrt(-2 * std::log(u1)) * std::cos(2 * M_PI * u2);
      const double v = std::pow(1 + c * x, 3);
      if (v > 0 && std::log(cursor.Unit() + 0x1p-25) < 0.5 * x * x + d - d * v + d * std::log(v)) {
        return d * v;
      }
    }
  }

  uint64_t seed_;
  Vectors targets_;
};

struct Outcome {
  double loss = 0;      // after kRounds
  double backdoor = 0;  // how far the backdoor's coordinates were pulled: 0 as clean, 1 there
};

// `combine(updates, round)` gives the step, or nothing when the round is skipped.
using Combine = std::function<std::optional<std::vector<float>>(const Vectors&, int)>;

std::vector<float> Train(const Toy& toy, const Attack* attack, size_t bad, const Combine& combine) {
  std::vector<float> x(kDimension, 0.0f);
  for (int round = 0; round < kRounds; ++round) {
    Vectors updates = toy.Updates(x, round);
    if (attack != nullptr && bad > 0) {
      const auto split = updates.begin() + static_cast<ptrdiff_t>(bad);
      const Vectors own(updates.begin(), split), honest(split, updates.end());
      const Vectors forged =
          attack->forge({honest, own, x, toy.n(), kClip, static_cast<uint64_t>(round)});
      std::copy(forged.begin(), forged.end(), updates.begin());
    }
    if (const auto step = combine(updates, round)) {
      for (size_t at = 0; at < kDimension; ++at) x[at] += (*step)[at];
    }
  }
  return x;
}

const Manifest& ToyManifest() {
  static const auto* const manifest = new Manifest{{"m.lora_A.weight", DType::kF32, {4, 8}},
                                                   {"m.lora_B.weight", DType::kF32, {8, 4}}};
  return *manifest;
}

std::vector<float> FlatFloats(const ParameterSet& set) {
  std::vector<float> flat;
  for (size_t tensor = 0; tensor < set.size(); ++tensor) {
    flat.insert(flat.end(), set.floats(tensor).begin(), set.floats(tensor).end());
  }
  return flat;
}

// A rule, with what it keeps between rounds.
Combine CombineBy(const RobustSettings& settings, const Toy& toy) {
  struct State {
    std::unique_ptr<RobustRule> rule;
    ParameterSet previous{ToyManifest()};
  };
  auto state = std::make_shared<State>();
  state->rule = *MakeRobustRule(settings);
  return [state, &toy](const Vectors& updates, int round) -> std::optional<std::vector<float>> {
    const Cohort cohort(ToyManifest(), updates);
    const std::vector<float> clean = updates.back();  // the last client is the operator's own
    const UpdateView root = cohort.view(clean);
    auto result = state->rule->Aggregate(
        cohort.views(),
        {.manifest = &ToyManifest(), .previous = &state->previous, .root = &root, .threads = 1});
    if (!result.ok()) {
      EXPECT_EQ(result.status().code(), absl::StatusCode::kAborted) << result.status();
      return std::nullopt;
    }
    state->previous = std::move(result->mean);
    return FlatFloats(state->previous);
  };
}

Outcome OutcomeOf(const Toy& toy, const Attack* attack, size_t bad, const std::vector<float>& clean,
                  const Combine& combine) {
  const std::vector<float> x = Train(toy, attack, bad, combine);
  Outcome outcome{.loss = toy.Loss(x, bad)};
  for (size_t at = 0; at < kBackdoorWidth; ++at) {
    const double pulled = (x[at] - clean[at]) / (kBackdoorTarget - clean[at]);
    outcome.backdoor = std::max(outcome.backdoor, pulled);
  }
  return outcome;
}

// Rules as a job would set them for `f` of n, by the name in the table that is printed.
std::vector<std::pair<std::string, RobustSettings>> RulesFor(size_t n, uint32_t f) {
  std::vector<std::pair<std::string, RobustSettings>> rules = {
      {"mean", {.rule = "mean"}},
      {"norm-bound", {.rule = "norm-bound", .clip = kClip}},
      {"median", {.rule = "median", .f = f, .clip = kClip}},
      {"trimmed-mean", {.rule = "trimmed-mean", .f = f, .clip = kClip}},
      {"krum", {.rule = "krum", .f = f, .clip = kClip}},
      {"multi-krum", {.rule = "multi-krum", .f = f, .clip = kClip}},
      {"geometric-median", {.rule = "geometric-median", .f = f, .clip = kClip}},
      {"centred-clipping",
       {.rule = "centred-clipping", .f = f, .clip = kClip, .tau = 0.5, .iterations = 3}},
      {"fltrust", {.rule = "fltrust", .clip = kClip}},
  };
  if (n >= 4 * f + 3) rules.push_back({"bulyan", {.rule = "bulyan", .f = f, .clip = kClip}});
  return rules;
}

class AttackMatrix : public testing::TestWithParam<bool> {
 protected:
  static constexpr size_t kClients = 20;
  bool dirichlet() const { return GetParam(); }
  Toy toy_{kClients, GetParam(), 7};
};
INSTANTIATE_TEST_SUITE_P(Data, AttackMatrix, testing::Values(false, true),
                         [](const auto& instance) {
                           return instance.param ? std::string("dirichlet") : std::string("iid");
                         });

TEST_P(AttackMatrix, RecommendedConfigurationsHoldAndTheMeanFails) {
  for (const uint32_t bad : {0u, 2u, 4u, 6u}) {
    const std::vector<float> clean_x = Train(toy_, nullptr, bad, [&](const Vectors& updates, int) {
      const Vectors honest(updates.begin() + bad, updates.end());
      return FlatFloats(
          (*MakeRobustRule({.rule = "mean"}))
              ->Aggregate(Cohort(ToyManifest(), honest).views(), {.manifest = &ToyManifest()})
              ->mean);
    });
    const double clean = toy_.Loss(clean_x, bad);
    std::printf("%s, %u of %zu bad, clean loss %.3f; loss relative to it (backdoor):\n",
                dirichlet() ? "dirichlet 0.1" : "iid", bad, kClients, clean);
    for (const Attack& attack : AllAttacks()) {
      if (bad == 0 && attack.name != "zero") continue;
      std::printf("  %-20s", bad == 0 ? "none" : attack.name.c_str());
      for (const auto& [name, settings] : RulesFor(kClients, bad)) {
        const Outcome outcome = OutcomeOf(toy_, &attack, bad, clean_x, CombineBy(settings, toy_));
        const double ratio = outcome.loss / clean;
        std::printf(" %s %.3f", name.c_str(), ratio);
        if (attack.name == "backdoor") std::printf(" (%.2f)", outcome.backdoor);
      }
      std::printf("\n");
    }
  }
}

}  // namespace
}  // namespace rivulet
