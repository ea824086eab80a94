#include "aggregation/robust/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/random.h"

namespace rivulet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

GateHistory Published(std::vector<double> losses, std::vector<double> steps = {}) {
  return {.losses = std::move(losses), .steps = std::move(steps)};
}

GateDecision Judged(const GateHistory& history, double loss, double step = 1) {
  return JudgeRound({}, history, {.loss = loss, .step = step});
}

TEST(JudgeRound, TheFirstRoundHasNothingToBeComparedWith) {
  const GateDecision decision = Judged({}, 2.5, 1000);
  EXPECT_TRUE(decision.publish);
  EXPECT_THAT(decision.history.losses, ElementsAre(2.5));
  EXPECT_THAT(decision.history.steps, ElementsAre(1000));
}

TEST(JudgeRound, ALossMayRiseByTenPercent) {
  EXPECT_TRUE(Judged(Published({2.0}), 2.2).publish);
  const GateDecision decision = Judged(Published({2.0}), 2.2001);
  EXPECT_FALSE(decision.publish);
  EXPECT_THAT(decision.reasons, ElementsAre(HasSubstr("held-out loss: got 2.2001")));
  EXPECT_THAT(decision.history.losses, ElementsAre(2.0));
  EXPECT_TRUE(Judged(Published({2.0}), 0.1).publish);
}

TEST(JudgeRound, ALossThatIsUsuallySteadyMayRiseByThreeDeviations) {
  // Changes +-.02: deviation .02 * sqrt(6/5), so .0657 above the last loss is the limit.
  const GateHistory steady = Published({1.00, 1.02, 1.00, 1.02, 1.00, 1.02, 1.00});
  EXPECT_TRUE(Judged(steady, 1.065).publish);
  EXPECT_THAT(Judged(steady, 1.066).reasons,
              ElementsAre(HasSubstr("by the changes of the last rounds: got 1.066")));
  // With fewer than five changes only the ten percent count.
  EXPECT_TRUE(Judged(Published({1.00, 1.02, 1.00, 1.02}), 1.09).publish);
}

TEST(JudgeRound, ALossThatHardlyMovesIsNotHeldToNothing) {
  const GateHistory still = Published(std::vector<double>(10, 1.0));
  EXPECT_TRUE(Judged(still, 1.0009).publish);
  EXPECT_FALSE(Judged(still, 1.0011).publish);
}

TEST(JudgeRound, AStepMayBeFiveTimesTheMedian) {
  const GateHistory history = Published({}, {1, 2, 3, 2, 1});
  EXPECT_TRUE(Judged(history, 1, 10).publish);
  EXPECT_THAT(Judged(history, 1, 10.1).reasons,
              ElementsAre(HasSubstr("norm of the step: got 10.1")));
  EXPECT_TRUE(Judged(Published({}, {1, 2, 3, 2}), 1, 1000).publish);
  EXPECT_TRUE(Judged(Published({}, {0, 0, 0, 0, 0}), 1, 1000).publish);
}

TEST(JudgeRound, WhatIsNotFiniteIsNotPublished) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::infinity()}) {
    EXPECT_FALSE(Judged({}, bad).publish);
    EXPECT_FALSE(Judged({}, 1, bad).publish);
  }
  EXPECT_FALSE(Judged({}, 1, -1).publish);
}

TEST(JudgeRound, CanariesCount) {
  EXPECT_THAT(JudgeRound({}, {}, {.loss = 1, .step = 1, .canaries_failed = 1}).reasons,
              ElementsAre(HasSubstr("failed canary tasks: got 1")));
  EXPECT_TRUE(JudgeRound({.canaries_allowed = 1}, {}, {.loss = 1, .step = 1, .canaries_failed = 1})
                  .publish);
}

TEST(JudgeRound, TwoFailuresInARowPauseAndASuccessBetweenThemDoesNot) {
  GateDecision decision = Judged(Published({1.0}), 9);
  EXPECT_FALSE(decision.pause);
  decision = Judged(decision.history, 9);
  EXPECT_FALSE(decision.publish);
  EXPECT_TRUE(decision.pause);
  decision = Judged(Judged(Judged(Published({1.0}), 9).history, 1).history, 9);
  EXPECT_FALSE(decision.pause);
  EXPECT_EQ(decision.history.failures, 1);
}

TEST(JudgeRound, RemembersItsWindowAlone) {
  GateHistory history;
  for (int round = 0; round < 50; ++round)
    history = Judged(history, 100 - round, 1 + round % 2).history;
  EXPECT_EQ(history.losses.size(), 21u);  // 20 changes
  EXPECT_EQ(history.steps.size(), 20u);
  EXPECT_EQ(history.losses.back(), 51);
}

// Honest noise of deviation s around a falling loss: changes have deviation s sqrt(2), and a rise
// of three of them has probability 1.35e-3 when the deviation is known; estimated from 5 .. 20
// changes it is at most 2 % a round. 2000 rounds: more than 60 refused with probability < 1e-3.
TEST(JudgeRound, HonestNoiseIsRarelyRefused) {
  int refused = 0;
  for (uint32_t run = 0; run < 40; ++run) {
    GateHistory history;
    std::vector<float> noise(50);
    RandomStream(3, Purpose::kSketch, run).FillGauss(0, noise);
    for (int round = 0; round < 50; ++round) {
      const double loss = 2 * std::exp(-0.02 * round) + 0.02 * noise[static_cast<size_t>(round)];
      const GateDecision decision = Judged(history, loss);
      refused += decision.publish ? 0 : 1;
      history = decision.history;
    }
  }
  EXPECT_LE(refused, 60);
}

}  // namespace
}  // namespace rivulet
