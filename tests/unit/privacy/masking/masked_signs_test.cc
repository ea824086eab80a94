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

// An update of that norm. Every third number is twice as large as the others.
ParameterSet UpdateOf(const MaskedForm& form, double norm, uint32_t seed) {
  ParameterSet update(form.manifest());
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  double squares = 0;
  size_t at = 0;
  for (float& value : update.floats(0)) {
    value = static_cast<float>(normal(random) * (at++ % 3 == 0 ? 2 : 1));
  }
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
  // More were invited than came.
  const secagg::Params params = form.ParamsOf({.round = 1, .attempt = 1, .cohort = clients + 3});
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
  for (size_t i = 0; i < want.floats(0).size(); ++i) {
    const double error = double{got.floats(0)[i]} - want.floats(0)[i];
    squares += error * error;
  }
  return squares;
}

// Over sessions, whose rotations differ, the mean is the update: also of one that is shorter than
// the range, and where blocks (768 numbers make three, of every third number each) are of different
// length, to which different noise is added. The error of S sessions is pi/2 range^2 - norm^2 over
// S, a sum of 512 or 768 nearly independent squares; beyond 1.5 times its mean (eight of its
// deviations) less than once in 10^10 seeds. A bias of a tenth of the update would add more.
TEST(MaskedSigns, AreTheUpdateInTheMeanOverSessions) {
  constexpr int kSessions = 2000;
  for (const auto& [numbers, norm] :
       {std::pair{512, kRange}, {512, 0.6 * kRange}, {768, 0.6 * kRange}}) {
    const MaskedForm form = Form(numbers);
    ASSERT_TRUE(form.signs());
    ASSERT_EQ(form.values() / form.block(), numbers == 768 ? 3u : 1u);
    const ParameterSet update = UpdateOf(form, norm, 5);
    SeededWords words;
    ParameterSet mean(form.manifest());
    for (int session = 0; session < kSessions; ++session) {
      const ParameterSet one = MeanOf(form, {update}, session, words);
      for (int i = 0; i < numbers; ++i) mean.floats(0)[i] += one.floats(0)[i] / kSessions;
    }
    const double variance = std::numbers::pi / 2 * kRange * kRange - norm * norm;
    EXPECT_LT(SquaredError(mean, update), 1.5 * variance / kSessions) << numbers << " " << norm;
    EXPECT_LT(1.5 * variance / kSessions, 0.01 * norm * norm) << numbers << " " << norm;
  }
}

// The squared error of one session, as the header states it: within a tenth, over 200 of them,
// whose errors are off by less than a tenth each (2 / sqrt(512)); false alarm below 10^-20.
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

// The mean of seven different updates: 0.57 range^2 / 7 where their errors are independent, and
// these are nearly; half as much again is never reached (50 sessions, see above).
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
  EXPECT_LT(squares, 1.5 * 0.571 * kRange * kRange / 7);
  const secagg::Params params = form.ParamsOf({.round = 1, .attempt = 1, .cohort = 7});
  EXPECT_EQ(params.d, (kNumbers + 18) / 19);  // of 62 bits at most
}

// An update beyond the range has the signs of one that fills it, and is counted as that.
TEST(MaskedSigns, SayNoMoreThanTheRange) {
  const MaskedForm form = Form();
  SeededWords words, same;
  const ParameterSet far = MeanOf(form, {UpdateOf(form, 1000 * kRange, 7)}, 1, words);
  const ParameterSet full = MeanOf(form, {UpdateOf(form, kRange, 7)}, 1, same);
  EXPECT_LT(SquaredError(far, full), 1e-3 * kRange * kRange);
}

TEST(MaskedSigns, FewNumbersAreRotatedToo) {
  const MaskedForm form = Form(20);
  EXPECT_TRUE(form.rotated());
  EXPECT_EQ(form.values(), 256u);
}

TEST(DrawSigns, TakesTheSignWhereABlockIsLongEnough) {
  const std::vector<float> values = {-1e-30f, 1e-30f, -5, 5};
  std::vector<int64_t> signs(values.size());
  SeededWords words;
  DrawSigns(values, 4, 1, words, signs);
  EXPECT_EQ(signs, (std::vector<int64_t>{0, 1, 0, 1}));
}

// 1 with the probability of a normal number: 10^5 draws in two blocks, five deviations of the
// share, false alarm 3e-6 over seeds.
TEST(DrawSigns, FollowsTheNormalLaw) {
  constexpr size_t kDraws = 100'000;
  constexpr double kNoise = 0.8;
  for (const double value : {-1.0, 0.0, 0.5}) {
    const std::vector<float> values(kDraws, static_cast<float>(value));
    std::vector<int64_t> signs(kDraws);
    SeededWords words;
    const double step = std::sqrt(std::numbers::pi / 2 * (value * value + kNoise * kNoise));
    DrawSigns(values, kDraws / 2, step, words, signs);
    double share = 0;
    for (const int64_t sign : signs) share += static_cast<double>(sign) / kDraws;
    const double want = 0.5 * (1 + std::erf(value / kNoise / std::numbers::sqrt2));
    EXPECT_NEAR(share, want, 5 * std::sqrt(want * (1 - want) / kDraws)) << value;
  }
}

}  // namespace
}  // namespace rivulet
