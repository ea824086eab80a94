#include "aggregation/robust/suspicion.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/unit/aggregation/robust/cohort.h"
#include "tests/unit/aggregation/robust/cursor_groups.h"

namespace rivulet {
namespace {

std::string NameOfClient(uint32_t client) { return "client-" + std::to_string(client); }

TEST(DistancesTo, AreFlatAndRefuseWhatDoesNotFit) {
  const Cohort cohort({{3, 4}, {0, 0}, {6, 8}});
  ParameterSet centre(cohort.manifest());
  const auto distances = DistancesTo(centre, cohort.views());
  ASSERT_TRUE(distances.ok()) << distances.status();
  EXPECT_EQ(*distances, (std::vector<double>{5, 0, 10}));
  ParameterSet other(Manifest{{"x", DType::kF32, {3}}});
  EXPECT_FALSE(DistancesTo(other, cohort.views()).ok());
  const Cohort bad({{3, std::numeric_limits<float>::quiet_NaN()}});
  EXPECT_FALSE(DistancesTo(centre, bad.views()).ok());
}

TEST(FarOnes, AreBeyondThreeMedians) {
  EXPECT_EQ(FarOnes(std::vector<double>{1, 2, 3, 6.1, 2}),
            (std::vector<bool>{false, false, false, true, false}));
  EXPECT_EQ(FarOnes(std::vector<double>{1, 2, 3, 6, std::nan("")}, 3).back(), true);
  EXPECT_TRUE(FarOnes({}).empty());
}

// rate 1/2, 2 rounds: the score passes 1 only by two hits, 1/4.
TEST(SuspicionThreshold, SmallCasesByHand) {
  EXPECT_EQ(*SuspicionThreshold(0.5, {.rounds = 2, .false_alarm = 0.26}), 1);
  EXPECT_NEAR(*SuspicionThreshold(0.5, {.rounds = 2, .false_alarm = 0.24}), 1, 2e-3);
  EXPECT_EQ(*SuspicionThreshold(0, {}), 1);
  EXPECT_EQ(*SuspicionThreshold(1, {}), 1);
}

// For a fair coin the walk has deviation 5 after 100 rounds; by reflection the maximum passes T
// with about 2 P(S > T) = 1e-3 at T = 3.29 * 5 = 16.5.
TEST(SuspicionThreshold, IsNearItsDiffusionLimit) {
  EXPECT_NEAR(*SuspicionThreshold(0.5, {}), 16.5, 0.6);
  double before = 0;
  for (const double rate : {0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5}) {
    const double threshold = *SuspicionThreshold(rate, {});
    EXPECT_GE(threshold, before) << rate;
    before = threshold;
  }
}

TEST(SuspicionThreshold, RefusesSettingsOutOfRange) {
  for (const SuspicionSettings& settings :
       {SuspicionSettings{.rounds = 1}, SuspicionSettings{.rounds = 20000},
        SuspicionSettings{.false_alarm = 0}, SuspicionSettings{.false_alarm = 1}}) {
    EXPECT_EQ(SuspicionThreshold(0.2, settings).status().code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_FALSE(SuspicionLedger::Make(settings).ok());
  }
  EXPECT_FALSE(SuspicionThreshold(-0.1, {}).ok());
  EXPECT_FALSE(SuspicionThreshold(std::nan(""), {}).ok());
}

// `bad` of n clients spoil their groups in every round; returns after how many rounds all of them
// are excluded, 0 for never in 100, and counts the honest ones that were.
struct Hunt {
  int rounds = 0;
  int honest_excluded = 0;
};
Hunt HuntFor(uint32_t n, uint32_t groups, uint32_t bad, uint64_t seed) {
  auto ledger = *SuspicionLedger::Make({});
  RandomCursor cursor(RandomStream(seed, Purpose::kCohort, 0));
  Hunt hunt;
  uint32_t found = 0;
  for (int round = 1; round <= 100; ++round) {
    std::vector<std::vector<std::string>> names;
    std::vector<bool> suspicious;
    const auto partition = GroupsFrom(cursor, n, groups);
    for (const auto& members : partition) {
      names.emplace_back();
      suspicious.push_back(false);
      for (const uint32_t client : members) {
        names.back().push_back(NameOfClient(client));
        if (client < bad && !ledger.Excluded(NameOfClient(client))) suspicious.back() = true;
      }
    }
    const std::vector<std::string> excluded = *ledger.Record(names, suspicious);
    for (const std::string& name : excluded) {
      bool is_bad = false;
      for (uint32_t client = 0; client < bad; ++client) is_bad |= name == NameOfClient(client);
      is_bad ? ++found : ++hunt.honest_excluded;
    }
    if (found == bad && hunt.rounds == 0) hunt.rounds = round;
  }
  return hunt;
}

// 40 hunts with 58 honest clients at 1e-3 each: 2.3 false exclusions expected at most; more than 10
// with probability below 1e-4.
TEST(SuspicionLedger, FindsTheBadOnesAndSparesTheHonest) {
  int honest_excluded = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Hunt hunt = HuntFor(64, 16, 6, seed);
    EXPECT_GT(hunt.rounds, 2) << seed;
    EXPECT_LE(hunt.rounds, 60) << seed;
    honest_excluded += hunt.honest_excluded;
  }
  EXPECT_LE(honest_excluded, 10);
}

TEST(SuspicionLedger, NeverExcludesOnOneRoundAndScoresTheDifferenceToTheRate) {
  auto ledger = *SuspicionLedger::Make({.rounds = 100, .false_alarm = 0.9});
  const std::vector<std::vector<std::string>> groups = {{"a", "b"}, {"c"}, {"d"}, {"e"}};
  const std::vector<bool> suspicious = {true, false, false, false};
  EXPECT_TRUE(ledger.Record(groups, suspicious)->empty());
  EXPECT_EQ(ledger.ScoreOf("a"), 0.75);
  EXPECT_EQ(ledger.ScoreOf("d"), -0.25);
  EXPECT_EQ(ledger.ScoreOf("nobody"), 0);
  while (!ledger.Excluded("a")) ASSERT_TRUE(ledger.Record(groups, suspicious).ok());
  EXPECT_TRUE(ledger.Excluded("b"));
  EXPECT_FALSE(ledger.Excluded("c"));
}

TEST(SuspicionLedger, ScoresStartAnewAfterTheirRounds) {
  auto ledger = *SuspicionLedger::Make({.rounds = 3});
  const std::vector<std::vector<std::string>> groups = {{"a"}, {"b"}};
  for (int round = 0; round < 3; ++round) ASSERT_TRUE(ledger.Record(groups, {false, true}).ok());
  EXPECT_EQ(ledger.ScoreOf("a"), -1.5);
  ASSERT_TRUE(ledger.Record(groups, {false, true}).ok());
  EXPECT_EQ(ledger.ScoreOf("a"), -0.5);
}

TEST(SuspicionLedger, GoesOnAfterARestart) {
  const std::vector<std::vector<std::string>> groups = {{"a"}, {"b"}, {"c"}};
  auto whole = *SuspicionLedger::Make({});
  auto first = *SuspicionLedger::Make({});
  for (int round = 0; round < 40; ++round) {
    ASSERT_TRUE(whole.Record(groups, {true, false, false}).ok());
    if (round < 10) {
      ASSERT_TRUE(first.Record(groups, {true, false, false}).ok());
    }
  }
  auto second = *SuspicionLedger::Make({}, first.entries());
  for (int round = 10; round < 40; ++round) {
    ASSERT_TRUE(second.Record(groups, {true, false, false}).ok());
  }
  EXPECT_EQ(second.entries(), whole.entries());
  EXPECT_TRUE(second.Excluded("a"));
}

TEST(SuspicionLedger, EntriesThatMakeNoSenseAreRefused) {
  for (const SuspicionEntry& entry :
       {SuspicionEntry{.rounds = 101}, SuspicionEntry{.rounds = -1},
        SuspicionEntry{.score = std::nan("")}, SuspicionEntry{.rate = 1.5}}) {
    EXPECT_EQ(SuspicionLedger::Make({}, {{"a", entry}}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(SuspicionLedger, WordsForAnotherNumberOfGroupsChangeNothing) {
  auto ledger = *SuspicionLedger::Make({});
  const std::vector<std::vector<std::string>> groups = {{"a"}, {"b"}};
  EXPECT_FALSE(ledger.Record(groups, {true}).ok());
  EXPECT_FALSE(ledger.Record({}, {}).ok());
  EXPECT_EQ(ledger.ScoreOf("a"), 0);
}

}  // namespace
}  // namespace rivulet
