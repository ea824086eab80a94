#include "privacy/dp/budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "privacy/dp/exact_gaussian.h"
#include "tests/unit/privacy/dp/ledger_rows.h"

namespace rivulet {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr BudgetLimit kEight = {.epsilon = 8, .delta = 1e-5, .population = 1000};

std::vector<LedgerRow> RowsOf(int64_t count, double q = 1, double z = 4) {
  std::vector<LedgerRow> rows;
  for (int64_t round = 1; round <= count; ++round) rows.push_back(CentralRow(round, q, z));
  return rows;
}

TEST(Budget, ARoundThatFitsIsAllowedWithWhatItWillHaveCost) {
  const auto rows = RowsOf(20);
  const auto answer = PlanRound(kEight, rows, 20, CentralRow(21, 1, 4));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_NEAR(answer->before.pld, ExactGaussianEpsilon(std::sqrt(20.0) / 4, 1e-5), 1e-9);
  EXPECT_NEAR(answer->after.pld, ExactGaussianEpsilon(std::sqrt(21.0) / 4, 1e-5), 1e-9);
  EXPECT_THAT(answer->warnings, IsEmpty());
}

// Fifty rounds of z = 4 cost 8.59586579 (z4): the last ones do not run on a budget of 8.
TEST(Budget, ARoundThatWouldExceedItIsRefusedWithTheNumbers) {
  const auto answer = PlanRound(kEight, RowsOf(49), 49, CentralRow(50, 1, 4));
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ExitCodeOf(answer.status()), ExitCode::kBudget);
  EXPECT_THAT(std::string(answer.status().message()), HasSubstr("8.596"));
  EXPECT_TRUE(PlanRound({8.6, 1e-5, 1000}, RowsOf(49), 49, CentralRow(50, 1, 4)).ok());
}

TEST(Budget, ALostRowStopsEverything) {
  const auto rows = RowsOf(20);
  EXPECT_EQ(PlanRound(kEight, rows, 21, CentralRow(22)).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(PlanRound(kEight, rows, 19, CentralRow(20)).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(PlanRound(kEight, {}, 1, CentralRow(2)).status().code(), absl::StatusCode::kDataLoss);
}

TEST(Budget, JobsAndTrialRunsOfADataSetAddUp) {
  std::vector<LedgerRow> rows = RowsOf(10);
  rows[3].job = "another job";
  rows[4].tuning = true;
  EXPECT_NEAR(PlanRound(kEight, rows, 10, CentralRow(1, 1, 4))->after.pld,
              ExactGaussianEpsilon(std::sqrt(11.0) / 4, 1e-5), 1e-9);
}

TEST(Budget, UnitsAndRelationsDoNotAddUp) {
  std::vector<LedgerRow> rows = RowsOf(2);
  LedgerRow planned = CentralRow(3, 1, 4);
  planned.unit = PrivacyUnit::kExample;
  EXPECT_EQ(PlanRound(kEight, rows, 2, planned).status().code(),
            absl::StatusCode::kFailedPrecondition);
  planned = CentralRow(3, 1, 4);
  planned.relation = RelationName::kZeroOut;
  EXPECT_EQ(PlanRound(kEight, rows, 2, planned).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(Budget, ARunOfATreeOrAFactorisationIsOneEvent) {
  LedgerRow tree = CentralRow(1, 1, 2);
  tree.mechanism = DpMechanism::kTree;
  tree.steps = 1600;
  tree.max_participation = 1;
  LedgerRow banded = CentralRow(1, 1, 3);
  banded.mechanism = DpMechanism::kBanded;
  const std::vector<LedgerRow> rows = {tree, tree, banded, tree};
  const double mu = std::sqrt(11.0 / 4 + 1.0 / 9);
  EXPECT_NEAR(PlanRound({20, 1e-5, 1000}, rows, 4, banded)->after.pld,
              ExactGaussianEpsilon(mu, 1e-5), 1e-9);
  LedgerRow other = banded;
  other.job = "another job";
  EXPECT_NEAR(PlanRound({20, 1e-5, 1000}, rows, 4, other)->after.pld,
              ExactGaussianEpsilon(std::sqrt(mu * mu + 1.0 / 9), 1e-5), 1e-9);
}

// Cohorts of fixed size: noise over rounds and noise of single ones speak of the same neighbours.
TEST(Budget, ARunAddsUpWithRowsOfItsOwnRelationAlone) {
  LedgerRow central = CentralRow(1, 1, 2);
  central.relation = RelationName::kZeroOut;
  for (const DpMechanism mechanism : {DpMechanism::kTree, DpMechanism::kBanded}) {
    LedgerRow run = CentralRow(1, 1, 3);
    run.mechanism = mechanism;
    run.relation = RelationName::kZeroOut;
    run.max_participation = 1;
    const std::vector<LedgerRow> rows = {central};
    EXPECT_NEAR(PlanRound({20, 1e-5, 1000}, rows, 1, run)->after.pld,
                ExactGaussianEpsilon(std::sqrt(1.0 / 4 + 1.0 / 9), 1e-5), 1e-9);
    run.relation = RelationName::kAddRemoveOne;
    EXPECT_EQ(PlanRound({20, 1e-5, 1000}, rows, 1, run).status().code(),
              absl::StatusCode::kFailedPrecondition);
    run.relation = RelationName::kReplaceOne;
    EXPECT_EQ(PlanRound({20, 1e-5, 1000}, rows, 1, run).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(Budget, TreesOfOneJobThatFollowEachOtherAreEventsOfTheirOwn) {
  LedgerRow tree = CentralRow(1, 1, 2);
  tree.mechanism = DpMechanism::kTree;
  tree.steps = 4;
  tree.max_participation = 1;
  std::vector<LedgerRow> rows;
  for (const int64_t round : {1, 2, 3, 4, 5}) {
    tree.round = round;
    rows.push_back(tree);
  }
  tree.round = 9;  // the third tree; each weighs bit_width(4) = 3 nodes
  EXPECT_NEAR(PlanRound({20, 1e-5, 1000}, rows, 5, tree)->before.pld,
              ExactGaussianEpsilon(std::sqrt(2 * 3.0 / 4), 1e-5), 1e-9);
  EXPECT_NEAR(PlanRound({20, 1e-5, 1000}, rows, 5, tree)->after.pld,
              ExactGaussianEpsilon(std::sqrt(3 * 3.0 / 4), 1e-5), 1e-9);
}

// The fixed-parameter vectors of dp_distributed.json, within what production's orders leave.
TEST(Budget, DistributedRoundsCostWhatTheVectorsSay) {
  for (const auto& [mechanism, want] :
       {std::pair(DpMechanism::kDistributedGaussian, 36.73863110385034),
        {DpMechanism::kDistributedSkellam, 36.74461880385033}}) {
    std::vector<LedgerRow> rows;
    for (int64_t round = 1; round <= 9; ++round) rows.push_back(DistributedRow(round, mechanism));
    const auto answer = PlanRound({40, 1e-5, 1000}, rows, 9, DistributedRow(10, mechanism));
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_NEAR(answer->after.pld, want, 1e-6 * want);
    EXPECT_EQ(answer->warnings.size(), 1u);  // order 2 is the first of the list
  }
}

TEST(Budget, DeltaIsMeasuredAgainstThePopulation) {
  EXPECT_EQ(*CheckDelta(1e-5, 1000), "");
  EXPECT_EQ(*CheckDelta(1e-5, 10'000), "");  // exactly a tenth
  EXPECT_THAT(*CheckDelta(1.1e-5, 10'000), HasSubstr("tenth"));
  EXPECT_THAT(*CheckDelta(1e-5, 99'999), HasSubstr("tenth"));
  EXPECT_FALSE(CheckDelta(1e-5, 100'000).ok());
  EXPECT_FALSE(CheckDelta(1e-5, 1'000'000).ok());
  EXPECT_FALSE(CheckDelta(0, 10).ok());
  EXPECT_FALSE(CheckDelta(std::nan(""), 10).ok());
  EXPECT_FALSE(CheckDelta(1e-5, 0).ok());
  const auto warned = PlanRound({8, 1e-5, 50'000}, {}, 0, CentralRow(1, 1, 4));
  EXPECT_EQ(warned->warnings.size(), 1u);
  EXPECT_FALSE(PlanRound({8, 1e-5, 100'000}, {}, 0, CentralRow(1, 1, 4)).ok());
}

TEST(Budget, NoLimitIsNoBudget) {
  for (const double bad : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
    EXPECT_FALSE(PlanRound({bad, 1e-5, 1000}, {}, 0, CentralRow(1)).ok());
  }
  LedgerRow no_noise = CentralRow(1, 1, 0);
  EXPECT_EQ(PlanRound(kEight, {}, 0, no_noise).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace rivulet
