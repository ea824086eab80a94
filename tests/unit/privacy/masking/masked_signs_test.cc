// Signs under masks: one bit of a number, and their sums are those of the updates.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>

#include "privacy/masking/masked_vector.h"
#include "privacy/masking/signs.h"

namespace rivulet {
namespace {

constexpr int64_t kNumbers = 512;  // no padding
constexpr double kRange = 2;

MaskedForm Form(int64_t numbers = kNumbers) {
  JobSpec spec;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.secure_aggregation.range = kRange;
  spec.compression.codec = "drive";
  return *MaskedForm::Of(spec, {{"a", DType::kF32, {numbers}}});
}

// Words that are the same in every run.
class SeededWords : public RoundingSource {
 public:
  void Fill(std::span<uint32_t> words) override {
    for (uint32_t& word : words) word = static_cast<uint32_t>(random_());
  }

 private:
  std::mt19937 random_{11};
};

Bytes32 Session(int number) {
  Bytes32 id{};
  id[0] = static_cast<uint8_t>(number);
  id[1] = static_cast<uint8_t>(number >> 8);
  return id;
}

// An update of that norm, a fifteenth of its square in one number.
ParameterSet UpdateOf(const MaskedForm& form, double norm, uint32_t seed) {
  ParameterSet update(form.manifest());
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  double squares = 0;
  for (float& value : update.floats(0)) value = static_cast<float>(normal(random));
  update.floats(0)[3] = 6;
  for (const float value : update.floats(0)) squares += double{value} * value;
  for (float& value : update.floats(0)) {
    value = static_cast<float>(value * norm / std::sqrt(squares));
  }
  return update;
}

// What the opened sum of one session says.
ParameterSet MeanOf(const MaskedForm& form, const std::vector<ParameterSet>& updates, int session,
                    RoundingSource& words) {
  const auto clients = static_cast<uint32_t>(updates.size());
  const secagg::Params params = form.ParamsOf({.round = 1, .attempt = 1, .cohort = clients});
  const MaskedForm::Maps maps = *form.MapsOf(1, Session(session), Session(session), {});
  secagg::RingVector sum(params.b, params.length());
  for (const ParameterSet& update : updates) {
    const auto encoded =
        EncodeUpdate(form, maps, params, update, 1, {}, SystemEntropy(), words, nullptr);
    EXPECT_TRUE(encoded.ok()) << encoded.status();
    sum.Add(encoded->vector);
  }
  auto decoded = DecodeSum(form, maps, params, sum, clients);
  EXPECT_TRUE(decoded.ok()) << decoded.status();
  return std::move(decoded->mean);
}

double SquaredError(const ParameterSet& got, const ParameterSet& want) {
  double squares = 0;
  for (int64_t i = 0; i < kNumbers; ++i) {
    const double error = double{got.floats(0)[i]} - want.floats(0)[i];
    squares += error * error;
  }
  return squares;
}

// Over sessions, whose rotations differ, the mean is the update: also of one that is shorter than
// the range, to which noise is added. The error of S sessions is pi/2 range^2 - norm^2 over S; a
// bias of a tenth of the update would add 0.01 norm^2.
TEST(MaskedSigns, AreTheUpdateInTheMeanOverSessions) {
  const MaskedForm form = Form();
  ASSERT_TRUE(form.signs());
  constexpr int kSessions = 2000;
  for (const double norm : {kRange, 0.6 * kRange}) {
    const ParameterSet update = UpdateOf(form, norm, 5);
    SeededWords words;
    ParameterSet mean(form.manifest());
    for (int session = 0; session < kSessions; ++session) {
      const ParameterSet one = MeanOf(form, {update}, session, words);
      for (int64_t i = 0; i < kNumbers; ++i) mean.floats(0)[i] += one.floats(0)[i] / kSessions;
    }
    const double variance = std::numbers::pi / 2 * kRange * kRange - norm * norm;
    // A sum of 512 nearly independent squares: beyond 1.4 times its mean (six of its deviations)
    // less than once in 10^8 seeds. Between coordinates of one session the errors are correlated
    // by less than 1/512.
    EXPECT_LT(SquaredError(mean, update), 1.4 * variance / kSessions) << norm;
    EXPECT_LT(1.4 * variance / kSessions, 0.01 * norm * norm) << norm;
  }
}

// The squared error of one session, as the header states it: within a tenth, over 200 of them.
TEST(MaskedSigns, HaveTheErrorThatIsStated) {
  const MaskedForm form = Form();
  for (const double norm : {kRange, 0.6 * kRange}) {
    const ParameterSet update = UpdateOf(form, norm, 6);
    SeededWords words;
    double squares = 0;
    for (int session = 0; session < 200; ++session) {
      squares += SquaredError(MeanOf(form, {update}, session, words), update) / 200;
    }
    const double want = std::numbers::pi / 2 * kRange * kRange - norm * norm;
    EXPECT_NEAR(squares / want, 1, 0.1) << norm;
  }
}

// One vector is one bit a number, and the mean of seven is nearer than one.
TEST(MaskedSigns, OfSevenAddUp) {
  const MaskedForm form = Form();
  std::vector<ParameterSet> updates;
  ParameterSet mean(form.manifest());
  for (uint32_t client = 0; client < 7; ++client) {
    updates.push_back(UpdateOf(form, kRange, 100 + client));
    for (int64_t i = 0; i < kNumbers; ++i) {
      mean.floats(0)[i] += updates.back().floats(0)[i] / 7;
    }
  }
  SeededWords words;
  double squares = 0;
  for (int session = 0; session < 50; ++session) {
    squares += SquaredError(MeanOf(form, updates, session, words), mean) / 50;
  }
  // 0.57 range^2 / 7 where errors are independent; those of updates that are alike add up.
  EXPECT_LT(squares, 0.57 * kRange * kRange / 2);
  const secagg::Params params = form.ParamsOf({.round = 1, .attempt = 1, .cohort = 7});
  EXPECT_EQ(params.d, (kNumbers + 18) / 19);  // of 62 bits at most
}

// An update beyond the range is cut to it, like any other.
TEST(MaskedSigns, SayNoMoreThanTheRange) {
  const MaskedForm form = Form();
  SeededWords words;
  const ParameterSet mean = MeanOf(form, {UpdateOf(form, 1000 * kRange, 7)}, 1, words);
  double squares = 0;
  for (const float value : mean.floats(0)) squares += double{value} * value;
  EXPECT_NEAR(squares, std::numbers::pi / 2 * kRange * kRange, 1e-3);
}

TEST(MaskedSigns, FewNumbersAreRotatedToo) {
  const MaskedForm form = Form(20);
  EXPECT_TRUE(form.rotated());
  EXPECT_EQ(form.values(), 256u);
}

TEST(DrawSigns, TakesTheSignWithoutNoise) {
  const std::vector<float> values = {-1e-30f, 1e-30f, -5, 5};
  std::vector<int64_t> signs(values.size());
  SeededWords words;
  DrawSigns(values, 0, words, signs);
  EXPECT_EQ(signs, (std::vector<int64_t>{0, 1, 0, 1}));
}

// 1 with the probability of a normal number of that deviation: 10^5 draws, five deviations of the
// share, false alarm 3e-6 over these seeds.
TEST(DrawSigns, FollowsTheNormalLaw) {
  constexpr size_t kDraws = 100'000;
  for (const double value : {-1.0, 0.0, 0.5}) {
    const std::vector<float> values(kDraws, static_cast<float>(value));
    std::vector<int64_t> signs(kDraws);
    SeededWords words;
    DrawSigns(values, 0.8, words, signs);
    double share = 0;
    for (const int64_t sign : signs) share += static_cast<double>(sign) / kDraws;
    const double want = 0.5 * (1 + std::erf(value / 0.8 / std::numbers::sqrt2));
    EXPECT_NEAR(share, want, 5 * std::sqrt(want * (1 - want) / kDraws)) << value;
  }
}

}  // namespace
}  // namespace rivulet
