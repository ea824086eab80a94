#include "common/scalars/scalar_form.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "common/scalars/log_position.h"
#include "common/scalars/scalar_tally.h"

namespace rivulet {
namespace {

const Manifest kTrained = {{"a", DType::kF32, {8}}, {"b", DType::kF32, {6, 5}}};
constexpr size_t kNumbers = 38;

JobSpec Measured() {
  JobSpec spec;
  spec.job.seed = 11;
  spec.train.estimator = "central";
  spec.train.max_steps = 3;
  spec.train.queries = 2;
  spec.train.learning_rate = 0.25;
  spec.scalars.enabled = true;
  return spec;
}

std::vector<float> Ones() { return std::vector<float>(kNumbers, 1.0f); }

TEST(ScalarForm, AJobWithoutScalarsHasNone) {
  EXPECT_FALSE(ScalarForm::Of(JobSpec(), kTrained).has_value());
  EXPECT_TRUE(SameManifest(UpdateManifestOf(JobSpec(), kTrained), kTrained).ok());
}

TEST(ScalarForm, FreshDirectionsAreOneAQueryOfAStepAndOthersEveryRound) {
  const ScalarForm form = *ScalarForm::Of(Measured(), kTrained);
  EXPECT_EQ(form.count(), 6);
  EXPECT_EQ(form.unit(), -0.25);
  const Manifest want = {{"coefficients", DType::kF32, {6}}};
  EXPECT_TRUE(SameManifest(UpdateManifestOf(Measured(), kTrained), want).ok());
  const std::vector<float> ones = Ones();
  std::set<double> sums;
  for (uint64_t round = 1; round <= 4; ++round) {
    for (uint64_t index = 0; index < 6; ++index) {
      const Directions directions = form.DirectionsOf({round});
      std::vector<float> z(kNumbers);
      directions.Perturb(index, 1, z, z);
      double packed = 0;  // the signs as a binary fraction
      for (float value : z) packed = packed / 2 + (value > 0);
      sums.insert(packed);
    }
  }
  EXPECT_EQ(sums.size(), 24u);  // two equal ones of 38 signs: once in 10^9 seeds
}

TEST(ScalarForm, APoolIsThatOfTheJobInEveryRound) {
  JobSpec spec = Measured();
  spec.scalars.pool = 16;
  const ScalarForm form = *ScalarForm::Of(spec, kTrained);
  EXPECT_EQ(form.count(), 16);
  const std::vector<float> ones = Ones();
  EXPECT_EQ(form.DirectionsOf({1}).Dot(7, ones), form.DirectionsOf({9}).Dot(7, ones));
}

TEST(ScalarForm, DirectionsOfASessionFollowFromItsRootAlone) {
  JobSpec spec = Measured();
  spec.scalars.drawn_from = "session";
  const ScalarForm form = *ScalarForm::Of(spec, kTrained);
  std::vector<float> slope(kNumbers);
  RandomStream(5, Purpose::kBaseTensor, 0).FillGauss(0, slope);
  const double one = form.DirectionsOf({1, 17}).Dot(2, slope);
  EXPECT_EQ(form.DirectionsOf({2, 17}).Dot(2, slope), one);
  EXPECT_NE(form.DirectionsOf({1, 18}).Dot(2, slope), one);
  const Directions own({}, 17, kTrained);
  EXPECT_EQ(own.Dot(2, slope), one);
  ScalarTally tally(form, {1, 17}, "ann");
  EXPECT_EQ(tally.directions().Dot(2, slope), one);
}

TEST(ScalarForm, UnitsKeepCoefficientsNearOne) {
  JobSpec spec = Measured();
  spec.train.estimator = "fzoo";
  spec.train.perturbation = 1e-3;
  EXPECT_DOUBLE_EQ(ScalarForm::Of(spec, kTrained)->unit(), -250);
  spec.train.estimator = "grzo";
  EXPECT_DOUBLE_EQ(ScalarForm::Of(spec, kTrained)->unit(), -250);
  spec.train.estimator = "backprop";
  spec.scalars.directions = 9;
  EXPECT_EQ(ScalarForm::Of(spec, kTrained)->unit(), 1.0 / 9);
  EXPECT_EQ(ScalarForm::Of(spec, kTrained)->count(), 9);
}

TEST(ScalarForm, ASplitMovesItsTensorsAlone) {
  JobSpec spec = Measured();
  spec.scalars.splits = 2;
  const ScalarForm form = *ScalarForm::Of(spec, kTrained);
  EXPECT_EQ(form.manifest()[0].elements(), 12);
  std::set<int> owners;
  for (const char* client : {"ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"}) {
    owners.insert(form.SplitOf(1, client));
  }
  EXPECT_EQ(owners, (std::set<int>{0, 1}));
  std::vector<float> z(kNumbers), whole(kNumbers);
  form.DirectionsOf({1}, 1).Perturb(3, 1, z, z);
  JobSpec unsplit = Measured();
  ScalarForm::Of(unsplit, kTrained)->DirectionsOf({1}).Perturb(3, 1, whole, whole);
  for (size_t i = 0; i < kNumbers; ++i) EXPECT_EQ(z[i], i < 8 ? 0 : whole[i]) << i;
}

TEST(ScalarTally, AddsMovementsInUnits) {
  const ScalarForm form = *ScalarForm::Of(Measured(), kTrained);
  ScalarTally tally(form, {1}, "ann");
  EXPECT_EQ(tally.Next(), (std::vector<uint64_t>{0, 1}));
  EXPECT_EQ(tally.Next(), (std::vector<uint64_t>{2, 3}));
  tally.Add(std::vector<uint64_t>{2, 3}, std::vector<double>{0.5, -1});
  tally.Add(std::vector<uint64_t>{3}, std::vector<double>{-1});
  const auto update = tally.Update();
  ASSERT_TRUE(update.ok()) << update.status();
  const std::vector<float> want = {0, 0, -2, 8, 0, 0};
  EXPECT_EQ(std::vector<float>(update->floats(0).begin(), update->floats(0).end()), want);
}

TEST(ScalarTally, MeasuresAlongTheCandidatesThatAreChosen) {
  JobSpec spec = Measured();
  spec.scalars.candidates = 3;
  const ScalarForm form = *ScalarForm::Of(spec, kTrained);
  EXPECT_EQ(form.count(), 6);
  ScalarTally first(form, {1}, "ann");
  EXPECT_EQ(first.Next(), (std::vector<uint64_t>{0, 3}));
  ScalarRound round{1};
  round.choice = std::string("\2\0\1\1\0\2", 6);
  ScalarTally tally(form, round, "ann");
  EXPECT_EQ(tally.Next(), (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(tally.Next(), (std::vector<uint64_t>{7, 10}));
  EXPECT_EQ(tally.Next(), (std::vector<uint64_t>{12, 17}));
  tally.Add(std::vector<uint64_t>{7, 17}, std::vector<double>{0.5, -1});
  const ParameterSet update = *tally.Update();
  const std::vector<float> want = {0, 0, -2, 0, 0, 4};
  EXPECT_EQ(std::vector<float>(update.floats(0).begin(), update.floats(0).end()), want);
}

TEST(ScalarForm, AChoiceIsOneOfTheCandidatesOfEachDirection) {
  JobSpec spec = Measured();
  EXPECT_TRUE(ScalarForm::Of(spec, kTrained)->CheckChoice("").ok());
  EXPECT_FALSE(ScalarForm::Of(spec, kTrained)->CheckChoice(std::string(6, '\0')).ok());
  spec.scalars.candidates = 3;
  const ScalarForm form = *ScalarForm::Of(spec, kTrained);
  EXPECT_TRUE(form.CheckChoice("").ok());
  EXPECT_TRUE(form.CheckChoice(std::string(6, '\2')).ok());
  for (const std::string& bad :
       {std::string(5, '\0'), std::string(7, '\0'), std::string(6, '\3'), std::string(6, '\xff')}) {
    EXPECT_EQ(form.CheckChoice(bad).code(), absl::StatusCode::kInvalidArgument) << bad.size();
  }
}

TEST(ScalarTally, DrawsOfAPoolAreTheClientsOwn) {
  JobSpec spec = Measured();
  spec.scalars.pool = 1000;
  const ScalarForm form = *ScalarForm::Of(spec, kTrained);
  ScalarTally ann(form, {1}, "ann"), again(form, {1}, "ann"), bob(form, {1}, "bob"),
      later(form, {2}, "ann");
  const std::vector<uint64_t> drawn = ann.Next();
  EXPECT_EQ(again.Next(), drawn);
  EXPECT_NE(bob.Next(), drawn);  // equal once in 10^6 seeds each
  EXPECT_NE(later.Next(), drawn);
  for (const uint64_t index : drawn) EXPECT_LT(index, 1000u);
}

// The relative variance of what comes back is (d - 1) / K = 37 / 1000. One root's squared error is
// nearly a sum of 37 squares of normal numbers: its relative deviation is sqrt(2 / 37) = 0.23, that
// of the mean over 100 roots 0.023. A fifth is eight of them: a false alarm in less than one of
// 10^12 choices of roots, and these are fixed.
TEST(ScalarTally, AProjectedUpdateIsUnbiased) {
  JobSpec spec = Measured();
  spec.train.estimator = "backprop";
  spec.scalars.directions = 1000;
  std::vector<float> delta(kNumbers);
  RandomStream(5, Purpose::kBaseTensor, 0).FillGauss(0, delta);
  std::vector<uint64_t> indices(1000);
  std::iota(indices.begin(), indices.end(), 0);
  double size = 0, error = 0;
  for (const float value : delta) size += value * value;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    spec.job.seed = seed;
    const ScalarForm form = *ScalarForm::Of(spec, kTrained);
    ScalarTally tally(form, {1}, "ann");
    tally.Project(delta);
    const auto update = tally.Update();
    ASSERT_TRUE(update.ok()) << update.status();
    std::vector<float> moves(update->floats(0).begin(), update->floats(0).end());
    for (float& move : moves) move *= static_cast<float>(form.unit());
    std::vector<float> back(kNumbers);
    form.DirectionsOf({1}).Move(indices, moves, back);
    for (size_t i = 0; i < kNumbers; ++i)
      error += (back[i] - delta[i]) * (back[i] - delta[i]) / 100;
  }
  const double ratio = error / size / (37.0 / 1000);
  EXPECT_GT(ratio, 0.8);
  EXPECT_LT(ratio, 1.2);
}

TEST(ScalarTally, ACoefficientThatNoSumTakesIsNamed) {
  const ScalarForm form = *ScalarForm::Of(Measured(), kTrained);
  ScalarTally tally(form, {1}, "ann");
  tally.Add(std::vector<uint64_t>{4}, std::vector<double>{40});
  const std::string message(tally.Update().status().message());
  EXPECT_NE(message.find("coefficient of direction 4: got -160"), std::string::npos) << message;
  tally.Add(std::vector<uint64_t>{4}, std::vector<double>{std::nan("")});
  EXPECT_FALSE(tally.Update().ok());
}

TEST(StateLog, ARestIsFetchedWhereItIsShorterThanTheState) {
  const StateLog log{"hash", 1000, 0};
  EXPECT_EQ(MissingFrom(log, std::nullopt, false, 5000), 0u);  // from the state of round 0
  EXPECT_EQ(MissingFrom(log, 600, false, 5000), 600u);
  EXPECT_EQ(MissingFrom(log, 1000, false, 5000), 1000u);
  EXPECT_EQ(MissingFrom(log, std::nullopt, false, 1000), std::nullopt);
  EXPECT_EQ(MissingFrom(log, 600, false, 500), 600u);
  EXPECT_EQ(MissingFrom(log, 600, true, 5000), 0u);  // sums of a pool change everywhere
  StateLog later{"hash", 1000, 700};
  EXPECT_EQ(MissingFrom(later, std::nullopt, false, 5000), std::nullopt);
  EXPECT_EQ(MissingFrom(later, 699, false, 5000), std::nullopt);
  EXPECT_EQ(MissingFrom(later, 700, false, 5000), 0u);
  EXPECT_EQ(MissingFrom(later, 1700, false, 5000), 1000u);
  EXPECT_EQ(MissingFrom(later, 1701, false, 5000), std::nullopt);   // ahead of it
  later.snapshot = StateSnapshot{std::string(64, 'b'), 300, 1600};  // and 100 bytes since
  EXPECT_EQ(later.tail(), 100u);
  EXPECT_EQ(MissingFrom(later, 1301, false, 5000), 601u);
  EXPECT_EQ(MissingFrom(later, 1300, false, 5000), std::nullopt);  // 400 bytes either way
  EXPECT_EQ(MissingFrom(later, std::nullopt, false, 5000), std::nullopt);
}

}  // namespace
}  // namespace rivulet
