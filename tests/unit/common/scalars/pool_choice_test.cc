#include "common/scalars/pool_choice.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/scalars/scalar_tally.h"
#include "tests/unit/privacy/chi_square.h"

namespace rivulet {
namespace {

// By hand: amplitudes 1, 0 and 334 2/3 become 0.002988, 0 and 1; e^v is 1.0029925, 1 and 2.7182818,
// together 4.7212743. Rounding v down to 1/65536 takes at most 1.6e-5 of a probability.
TEST(PoolChoice, AProbabilityRisesWithHowFarTheStateMoved) {
  const PoolChoice choice = *PoolChoice::Of(std::vector<float>{-1, 0, 334.6667f});
  const auto probability = [&](size_t j) {
    return static_cast<double>(choice.Weight(j)) / static_cast<double>(choice.total());
  };
  EXPECT_NEAR(probability(0), 0.212441058, 1e-5);
  EXPECT_NEAR(probability(1), 0.211807221, 1e-5);
  EXPECT_NEAR(probability(2), 0.575751721, 1e-5);
  // To the last bit, from the same series in Python's whole numbers.
  EXPECT_EQ(choice.Weight(0), 1076941461u);
  EXPECT_EQ(choice.Weight(1), 1073741824u);
  EXPECT_EQ(choice.Weight(2), 2918732888u);
}

TEST(PoolChoice, AllAreAlikeWhereNoneMovedFurther) {
  for (const float amplitude : {0.0f, 2.5f}) {
    const PoolChoice choice = *PoolChoice::Of(std::vector<float>{amplitude, -amplitude, amplitude});
    for (size_t j = 0; j < 3; ++j) EXPECT_EQ(choice.Weight(j), uint64_t{1} << 30);
  }
}

TEST(PoolChoice, ASumThatIsNotFiniteIsRefused) {
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    EXPECT_EQ(PoolChoice::Of(std::vector<float>{1, bad}).status().code(),
              absl::StatusCode::kDataLoss);
  }
}

std::vector<float> Sums(size_t count) {
  std::vector<float> sums(count);
  RandomStream(3, Purpose::kBaseTensor, 0).FillGauss(0, sums);
  return sums;
}

// |z| > 6 with a probability of 2e-9 over seeds; this one is fixed. Draws that were uniform would
// be seen: 100,000 of them are some 80 deviations off.
TEST(PoolChoice, DrawsComeAsOftenAsTheirProbabilitiesSay) {
  const PoolChoice choice = *PoolChoice::Of(Sums(64));
  RandomCursor cursor(RandomStream(5, Purpose::kSeedChoice, 0));
  std::vector<uint64_t> counts(64);
  for (int draw = 0; draw < 100'000; ++draw) ++counts.at(choice.Draw(cursor));
  std::vector<double> weights;
  for (size_t j = 0; j < 64; ++j) weights.push_back(static_cast<double>(choice.Weight(j)));
  EXPECT_LT(std::abs(ProportionZ(counts, weights)), 6);
  EXPECT_GT(UniformityZ(counts), 20);
}

TEST(PoolChoice, ATallyDrawsByItFromTheClientsOwnStream) {
  JobSpec spec;
  spec.job.seed = 11;
  spec.train.estimator = "central";
  spec.train.queries = 50;
  spec.scalars.enabled = true;
  spec.scalars.pool = 64;
  spec.scalars.pool_choice = "amplitude";
  const ScalarForm form = *ScalarForm::Of(spec, {{"a", DType::kF32, {8}}});
  ASSERT_TRUE(form.by_amplitude());
  const PoolChoice choice = *PoolChoice::Of(Sums(64));
  RandomCursor cursor(RandomStream(RootOf(11, 3, "ann"), Purpose::kSeedChoice, 0));
  std::vector<uint64_t> want;
  for (int query = 0; query < 50; ++query) want.push_back(choice.Draw(cursor));
  EXPECT_EQ(ScalarTally(form, {3}, "ann", choice).Next(), want);
  // Two lists of 50 of 64 agree by chance once in far more than 10^50 seeds.
  EXPECT_NE(ScalarTally(form, {3}, "bob", choice).Next(), want);
  EXPECT_NE(ScalarTally(form, {3}, "ann", *PoolChoice::Of(std::vector<float>(64))).Next(), want);
}

}  // namespace
}  // namespace rivulet
