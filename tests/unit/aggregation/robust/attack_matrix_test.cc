// Attack x rule x {iid, Dirichlet 0.1} x share of liars on a toy of 64 parameters. Seeds are fixed,
// so the numbers are too; what is asserted holds with room to spare.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <tuple>

#include "aggregation/robust/gate.h"
#include "aggregation/robust/groups.h"
#include "aggregation/robust/rule.h"
#include "tests/unit/aggregation/robust/attacks.h"
#include "tests/unit/aggregation/robust/cohort.h"
#include "tests/unit/aggregation/robust/cursor_groups.h"

namespace rivulet {
namespace {

constexpr size_t kDimension = 64;
constexpr size_t kClasses = 10;
constexpr int kRounds = 50;
constexpr double kRate = 0.3;    // an honest update is kRate (t_c - x) and a little noise
constexpr double kNoise = 0.02;  // of an honest update, for each coordinate
constexpr double kWithin = 1;    // squared deviation of a client's data, for each coordinate
constexpr double kClip = 4;
constexpr double kTau = 0.5;

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
  double loss = 0;      // after kRounds, relative to the clean model's
  double backdoor = 0;  // how far the backdoor's coordinates were pulled: 0 as clean, 1 there
};

// `combine(updates, round)` gives the step, or nothing when the round is skipped.
using Combine = std::function<std::optional<std::vector<float>>(const Vectors&, int)>;

constexpr float kDiverged = 1e6f;  // a model beyond it is lost, and the loss infinite

std::vector<float> Train(const Toy& toy, const Attack* attack, size_t bad, const Combine& combine) {
  std::vector<float> x(kDimension, 0.0f);
  for (int round = 0; round < kRounds && std::fabs(x[0]) < kDiverged; ++round) {
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

// A rule, with what it keeps between rounds. The last client is the operator's own, for fltrust.
Combine CombineBy(const RobustSettings& settings) {
  struct State {
    std::unique_ptr<RobustRule> rule;
    ParameterSet previous{ToyManifest()};
  };
  auto state = std::make_shared<State>();
  state->rule = *MakeRobustRule(settings);
  return [state](const Vectors& updates, int) -> std::optional<std::vector<float>> {
    const Cohort cohort(ToyManifest(), updates);
    const std::vector<float> own = updates.back();
    const UpdateView root = cohort.view(own);
    auto result = state->rule->Aggregate(
        cohort.views(),
        {.manifest = &ToyManifest(), .previous = &state->previous, .root = &root, .threads = 1});
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return std::nullopt;
    state->previous = std::move(result->mean);
    return FlatFloats(state->previous);
  };
}

// What the honest clients [bad, n) would have made of it alone.
std::vector<float> CleanModel(const Toy& toy, size_t bad) {
  const Combine mean = CombineBy({.rule = "mean"});
  return Train(toy, nullptr, bad, [&](const Vectors& updates, int round) {
    return mean(Vectors(updates.begin() + static_cast<ptrdiff_t>(bad), updates.end()), round);
  });
}

Outcome OutcomeOf(const Toy& toy, const Attack* attack, size_t bad, const std::vector<float>& clean,
                  const Combine& combine) {
  const std::vector<float> x = Train(toy, attack, bad, combine);
  Outcome outcome{.loss = toy.Loss(x, bad) / toy.Loss(clean, bad)};
  for (size_t at = 0; at < kBackdoorWidth; ++at) {
    const double pulled = (x[at] - clean[at]) / (kBackdoorTarget - clean[at]);
    outcome.backdoor = std::max(outcome.backdoor, pulled);
  }
  return outcome;
}

// Rules as a job would set them for `f` of n, by the name in the table that is printed.
std::vector<RobustSettings> RulesFor(size_t n, uint32_t f) {
  std::vector<RobustSettings> rules = {
      {.rule = "mean"},
      {.rule = "norm-bound", .clip = kClip},
      {.rule = "median", .f = f, .clip = kClip},
      {.rule = "trimmed-mean", .f = f, .clip = kClip},
      {.rule = "krum", .f = f, .clip = kClip},
      {.rule = "multi-krum", .f = f, .clip = kClip},
      {.rule = "geometric-median", .f = f, .clip = kClip},
      {.rule = "centred-clipping", .f = f, .clip = kClip, .tau = kTau, .iterations = 3},
      {.rule = "fltrust", .clip = kClip},
  };
  if (n >= 4 * f + 3) rules.push_back({.rule = "bulyan", .f = f, .clip = kClip});
  return rules;
}

// One line of the matrix, printed as it is made.
class MatrixLine {
 public:
  explicit MatrixLine(const std::string& attack) { std::printf("  %-20s", attack.c_str()); }
  ~MatrixLine() { std::printf("\n"); }

  void Add(const std::string& rule, const Outcome& outcome) {
    outcomes_[rule] = outcome;
    std::printf(" %s %.3f", rule.c_str(), std::min(outcome.loss, 99.0));
    if (outcome.backdoor > 0.005) std::printf(" (%.2f)", outcome.backdoor);
  }
  const Outcome& of(const std::string& rule) const { return outcomes_.at(rule); }

 private:
  std::map<std::string, Outcome> outcomes_;
};

class AttackMatrix : public testing::TestWithParam<std::tuple<bool, uint32_t>> {
 protected:
  static constexpr size_t kClients = 20;

  bool dirichlet() const { return std::get<0>(GetParam()); }
  uint32_t bad() const { return std::get<1>(GetParam()); }
  Toy toy_{kClients, std::get<0>(GetParam()), 7};
};
INSTANTIATE_TEST_SUITE_P(Toy, AttackMatrix,
                         testing::Combine(testing::Bool(), testing::Values(0u, 2u, 4u, 6u)),
                         [](const auto& instance) {
                           return std::string(std::get<0>(instance.param) ? "dirichlet" : "iid") +
                                  std::to_string(5 * std::get<1>(instance.param)) + "percent";
                         });

// The goals of the design, at up to 20 % of liars: norm bound and centred clipping stays within 5 %
// of clean whatever the attack; norm bound and multi-Krum does so for all but the subtle ones, and
// lets no backdoor get a tenth of its way even when clients differ much; a plain mean is ruined.
TEST_P(AttackMatrix, RecommendedConfigurationsHoldAndTheMeanFails) {
  const std::vector<float> clean = CleanModel(toy_, bad());
  std::printf("loss relative to clean, in brackets how far a backdoor came:\n");
  for (const Attack& attack : AllAttacks()) {
    if (bad() == 0 && attack.name != "zero") continue;
    MatrixLine line(bad() == 0 ? "none" : attack.name);
    for (const RobustSettings& settings : RulesFor(kClients, bad())) {
      line.Add(settings.rule, OutcomeOf(toy_, &attack, bad(), clean, CombineBy(settings)));
    }
    if (bad() > 4) continue;  // recorded, not promised
    EXPECT_LE(line.of("centred-clipping").loss, 1.05) << attack.name;
    if (attack.crude || attack.name == "backdoor") {
      EXPECT_LE(line.of("multi-krum").loss, 1.05) << attack.name;
      EXPECT_LE(line.of("multi-krum").backdoor, 0.10) << attack.name;
    }
    if (!dirichlet()) {
      EXPECT_LE(line.of("trimmed-mean").loss, 1.05) << attack.name;
      EXPECT_LE(line.of("trimmed-mean").backdoor, 0.10) << attack.name;
      EXPECT_LE(line.of("centred-clipping").backdoor, 0.10) << attack.name;
    }
    if (bad() == 4 && attack.crude) {
      EXPECT_GT(line.of("mean").loss, 1.05) << attack.name;
    }
  }
}

// Masked mode: 128 clients, groups of 4 drawn anew in every round, 10 % of liars; the server sees
// group means alone and takes their median, then the gate judges the step.
class GroupedMatrix : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Toy, GroupedMatrix, testing::Bool(), [](const auto& instance) {
  return std::string(instance.param ? "dirichlet" : "iid");
});

Vectors MeansOfGroups(const Vectors& updates, uint32_t groups, RandomCursor& cursor) {
  Vectors means;
  const auto partition = GroupsFrom(cursor, static_cast<uint32_t>(updates.size()), groups);
  for (const std::vector<uint32_t>& members : partition) {
    Vectors own;
    for (const uint32_t member : members) own.push_back(updates[member]);
    const auto mean = (*MakeRobustRule({.rule = "mean"}))
                          ->Aggregate(Cohort(ToyManifest(), own).views(),
                                      {.manifest = &ToyManifest(), .threads = 1});
    means.push_back(FlatFloats(mean->mean));
  }
  return means;
}

TEST_P(GroupedMatrix, MedianOfGroupsAndTheGateHold) {
  constexpr uint32_t kClients = 128, kGroupSize = 4, kBad = 12;
  const auto plan = CheckGroupPlan({.n = kClients, .g = kGroupSize, .f_max = kBad, .h_min = 0});
  ASSERT_TRUE(plan.ok()) << plan.status();
  const Toy toy(kClients, GetParam(), 11);
  const std::vector<float> clean = CleanModel(toy, kBad);
  for (const Attack& attack : AllAttacks()) {
    RandomCursor cursor(RandomStream(5, Purpose::kCohort, 0));
    GateHistory gate;
    int refused = 0;
    const auto grouped = [&](const RobustSettings& settings) -> Combine {
      return [&, combine = CombineBy(settings)](const Vectors& updates, int round) {
        auto step = combine(MeansOfGroups(updates, plan->groups, cursor), round);
        double square = 0;
        for (const float value : *step) square += static_cast<double>(value) * value;
        const GateDecision decision =
            JudgeRound({}, gate, {.loss = 1.0, .step = std::sqrt(square)});
        gate = decision.history;
        refused += decision.publish ? 0 : 1;
        return decision.publish ? step : std::nullopt;
      };
    };
    MatrixLine line(attack.name);
    // A masked upload is not clipped by the server: the liars go unbounded into their groups.
    line.Add("median", OutcomeOf(toy, &attack, kBad, clean,
                                 grouped({.rule = "median", .f = plan->f_groups})));
    EXPECT_EQ(refused, 0) << attack.name;
    line.Add("mean", OutcomeOf(toy, &attack, kBad, clean, CombineBy({.rule = "mean"})));
    EXPECT_LE(line.of("median").loss, 1.05) << attack.name;
    EXPECT_LE(line.of("median").backdoor, 0.10) << attack.name;
    if (attack.crude && attack.name != "sign flip 5") {  // five times a tenth is no majority
      EXPECT_GT(line.of("mean").loss, 1.05) << attack.name;
    }
  }
}

// What a liar sends that is no number never gets as far as a rule.
TEST(AttackMatrixTest, NoRuleTakesWhatIsNotFinite) {
  Vectors updates = Toy(11, false, 3).Updates(std::vector<float>(kDimension, 0.0f), 0);
  updates[4][33] = std::numeric_limits<float>::quiet_NaN();
  const Cohort cohort(ToyManifest(), updates);
  for (const RobustSettings& settings : RulesFor(11, 2)) {
    const UpdateView root = cohort.view(updates[0]);
    const auto result =
        (*MakeRobustRule(settings))
            ->Aggregate(cohort.views(), {.manifest = &ToyManifest(), .root = &root});
    EXPECT_EQ(result.status().message(),
              "update 4: m.lora_B.weight[1]: got nan, want a finite value")
        << settings.rule;
  }
}

}  // namespace
}  // namespace rivulet
