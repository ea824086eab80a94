#include "privacy/dp/central_run.h"

#include <gtest/gtest.h>

#include <cmath>

#include "privacy/dp/accountant.h"
#include "privacy/dp/banded.h"
#include "privacy/dp/exact_gaussian.h"
#include "privacy/dp/mechanism.h"
#include "privacy/dp/tree.h"

namespace rivulet {
namespace {

using Correlation = CentralRun::Correlation;

const NoiseSeed& Seed() {
  static const NoiseSeed seed = *NoiseSeed::FromStored(std::string(32, 'r'));
  return seed;
}

CentralRun EightRounds(Correlation correlation, int64_t values = 100) {
  CentralRun run;
  run.correlation = correlation;
  run.noise_multiplier = 1;
  run.clip_norm = 0.5;
  run.values = values;
  run.rounds = 8;
  run.separation = 3;
  return run;
}

std::vector<int64_t> NoiseOf(const CentralRun& run, int64_t round) {
  std::vector<int64_t> sum(static_cast<size_t>(run.values), 0);
  const absl::Status added = run.AddTo(Seed(), round, sum);
  EXPECT_TRUE(added.ok()) << added;
  return sum;
}

double MeanSquare(const std::vector<int64_t>& values) {
  double sum = 0;
  for (const int64_t value : values) sum += static_cast<double>(value) * value;
  return sum / static_cast<double>(values.size());
}

TEST(CentralRun, EveryRoundIsMadeAgainFromTheSeed) {
  for (const Correlation kind : {Correlation::kNone, Correlation::kTree, Correlation::kBanded}) {
    EXPECT_EQ(NoiseOf(EightRounds(kind), 5), NoiseOf(EightRounds(kind), 5));
    if (kind != Correlation::kNone)
      EXPECT_NE(NoiseOf(EightRounds(kind), 5), NoiseOf(EightRounds(kind), 6));
  }
}

TEST(CentralRun, AFullTreesRoundsAddUpToOneNode) {
  const CentralRun run = EightRounds(Correlation::kTree, 20'000);
  std::vector<int64_t> sum(20'000, 0);
  for (int64_t round = 1; round <= 8; ++round) {
    ASSERT_TRUE(run.AddTo(Seed(), round, sum).ok());
  }
  const auto variance = static_cast<double>(*run.Variance());
  // A mean of 20,000 squares: deviation sqrt(2/20,000) = 1 %; beyond 5 %: one in a million.
  EXPECT_NEAR(MeanSquare(sum) / variance, 1, 0.05);
}

TEST(CentralRun, ARestartedTreeStartsAnew) {
  CentralRun run = EightRounds(Correlation::kTree);
  run.restart = 4;
  EXPECT_EQ(run.TreeRounds(), 4);
  EXPECT_EQ(run.Participations(), 2);  // rounds 1 and 4
  // Round 5 is round 1 of the second tree: one node and no other, but not that of the first.
  EXPECT_NE(NoiseOf(run, 5), NoiseOf(run, 1));
  const NoiseSeed second = Seed().Derive("restart/1");
  std::vector<int64_t> want(100, 0);
  ASSERT_TRUE(TreeNoise::Make(second, *run.Variance())->AddToRound(1, 0, want).ok());
  EXPECT_EQ(NoiseOf(run, 5), want);
}

// Over a block's border, against the recursion written out.
TEST(CentralRun, BandedNoiseFollowsTheRecursionInEveryBlock) {
  const int64_t values = kNoiseBlock + 10;
  CentralRun run = EightRounds(Correlation::kBanded, values);
  const BandedNoise banded{1, 0.5, values, 3, 3};
  EXPECT_EQ(*run.Variance(), *banded.Variance());
  std::vector<std::vector<int64_t>> rounds;
  for (int64_t round = 1; round <= 4; ++round) {
    std::vector<int64_t> wave(static_cast<size_t>(values));
    std::vector<std::span<const int64_t>> before;
    for (size_t back = 1; back < 3 && back <= rounds.size(); ++back) {
      before.push_back(rounds[rounds.size() - back]);
    }
    const NoiseSeed seed = Seed().Derive("round/" + std::to_string(round));
    ASSERT_TRUE(MakeBandedNoise(banded, seed, 0, before, wave).ok());
    rounds.push_back(std::move(wave));
  }
  EXPECT_EQ(NoiseOf(run, 1), rounds[0]);
  EXPECT_EQ(NoiseOf(run, 4), rounds[3]);
}

double Cost(const CentralRun& run) {
  Accountant accountant(PrivacyUnit::kClient);
  for (const PrivacyEvent& event : run.Events()) EXPECT_TRUE(accountant.Compose(event).ok());
  return accountant.EpsilonAt(1e-5)->pld;
}

// Vectors of dp_matrix_mechanism.json: sensitivity^2 of a tree is 4 for 1 of 8 rounds (at least 7
// between two), 9 for 7 rounds with 2 between; trees that follow each other add up.
TEST(CentralRun, CostsWhatTheClosedFormsSay) {
  CentralRun run = EightRounds(Correlation::kNone);
  EXPECT_NEAR(Cost(run), ExactGaussianEpsilon(std::sqrt(8.0), 1e-5), 1e-9);
  run.correlation = Correlation::kBanded;
  EXPECT_NEAR(Cost(run), ExactGaussianEpsilon(1, 1e-5), 1e-9);
  run.correlation = Correlation::kTree;
  run.separation = 8;
  EXPECT_NEAR(Cost(run), ExactGaussianEpsilon(2, 1e-5), 1e-9);
  run.separation = 3;
  run.restart = 7;
  EXPECT_NEAR(Cost(run), ExactGaussianEpsilon(std::sqrt(2 * 9.0), 1e-5), 1e-9);
}

TEST(CentralRun, TheCalibratedNoiseKeepsTheTargetAndLittleLessDoesNot) {
  for (const Correlation kind : {Correlation::kNone, Correlation::kTree, Correlation::kBanded}) {
    for (const int64_t restart : {0, 3}) {
      CentralRun run = EightRounds(kind);
      run.restart = restart;
      const auto z = CalibrateRun(run, 4, 1e-5);
      ASSERT_TRUE(z.ok()) << z.status();
      run.noise_multiplier = *z;
      EXPECT_LE(Cost(run), 4);
      run.noise_multiplier = *z * (1 - 2e-4);
      EXPECT_GT(Cost(run), 4);
    }
  }
}

// Of a sum on another grid, the contribution alone counts.
TEST(CentralRun, AContributionInGridStepsTakesThePlaceOfTheClipNorm) {
  for (const Correlation kind : {Correlation::kNone, Correlation::kTree}) {
    CentralRun run = EightRounds(kind);
    run.contribution = 1000;
    run.noise_multiplier = 3;
    run.clip_norm = 1e5;
    EXPECT_EQ(*run.Variance(), 9'000'001u);  // never below what was asked for
  }
  CentralRun banded = EightRounds(Correlation::kBanded);
  banded.contribution = 1000;
  // Three participations, ||c||^2 = 1 + 1/4 + 9/64, two roundings of 100 values.
  EXPECT_NEAR(banded.Sensitivity(),
              std::sqrt(3.0) * (std::sqrt(1.390625) * 1000 + std::sqrt(200.0)), 1e-6);
}

TEST(CentralRun, WhatDoesNotFitIsRefused) {
  std::vector<int64_t> sum(100, 0);
  const CentralRun run = EightRounds(Correlation::kTree);
  EXPECT_FALSE(run.AddTo(Seed(), 0, sum).ok());
  EXPECT_FALSE(run.AddTo(Seed(), 9, sum).ok());
  EXPECT_FALSE(run.AddTo(Seed(), 1, std::span(sum).first(99)).ok());
  CentralRun wide = EightRounds(Correlation::kBanded);
  wide.clip_norm = 100;
  EXPECT_EQ(wide.Variance().status().code(), absl::StatusCode::kOutOfRange);
  wide.separation = 0;
  EXPECT_EQ(wide.Variance().status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rivulet
