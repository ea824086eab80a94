#include "aggregation/codec/lattice.h"

#include <cmath>
#include <random>

#include "common/formats/json.h"
#include "tests/unit/aggregation/codec/codec_fixtures.h"

namespace rivulet {
namespace {

// Hands out given words.
class ListedRounding : public RoundingSource {
 public:
  explicit ListedRounding(std::vector<uint32_t> words) : words_(std::move(words)) {}
  void Fill(std::span<uint32_t> words) override {
    ASSERT_LE(at_ + words.size(), words_.size());
    std::copy_n(words_.begin() + at_, words.size(), words.begin());
    at_ += words.size();
  }

 private:
  std::vector<uint32_t> words_;
  size_t at_ = 0;
};

class ListedWords : public PublicWords {
 public:
  explicit ListedWords(std::vector<uint32_t> words) : words_(std::move(words)) {}
  void Fill(uint64_t first, std::span<uint32_t> words) const override {
    ASSERT_LE(first + words.size(), words_.size());
    std::copy_n(words_.begin() + static_cast<int64_t>(first), words.size(), words.begin());
  }

 private:
  std::vector<uint32_t> words_;
};

class EncodingVector : public testing::Test {
 protected:
  EncodingVector() : case_(*ReadJson(RIVULET_SOURCE_DIR "/tests/golden/vectors/encoding.json")) {
    uint32_t word = 0;
    const std::vector<int> signs = case_["signs"];
    for (size_t at = 0; at < signs.size(); ++at) word |= (signs[at] < 0 ? 1u : 0u) << at;
    rotation_ = *NewRotation(case_["block_log2"],
                             std::make_shared<ListedWords>(std::vector<uint32_t>{word}));
  }
  std::vector<float> Clipped() const {
    std::vector<float> values;
    for (const double value : case_["input"].get<std::vector<double>>()) {
      values.push_back(static_cast<float>(value * case_["clip_factor"].get<double>()));
    }
    return values;
  }

  nlohmann::json case_;
  std::unique_ptr<LinearStage> rotation_;
};

TEST_F(EncodingVector, TheRotationIsMetInBinary32) {
  const std::vector<float> input = Clipped();
  const std::vector<double> want = case_["rotated"];
  ASSERT_EQ(rotation_->OutputSize(input.size()), want.size());
  std::vector<float> rotated(want.size());
  rotation_->Project(input, rotated);
  for (size_t at = 0; at < want.size(); ++at) EXPECT_NEAR(rotated[at], want[at], 1e-6) << at;
}

// The same in binary64, written out: layout, signs and transform to the vector's own tolerance.
TEST_F(EncodingVector, TheRotationIsMetInBinary64) {
  const std::vector<double> input = case_["input"], want = case_["rotated"];
  const std::vector<int> signs = case_["signs"];
  const size_t blocks = case_["blocks"], size = want.size() / blocks;
  const double factor = case_["clip_factor"], tolerance = case_["abs_tol"];
  std::vector<double> rotated(want.size());
  for (size_t j = 0; j < input.size(); ++j) {
    const size_t place = j % blocks * size + j / blocks;
    rotated[place] = input[j] * factor * signs[place];
  }
  for (size_t block = 0; block < blocks; ++block) {
    WalshHadamard(std::span(rotated).subspan(block * size, size));
  }
  for (size_t at = 0; at < want.size(); ++at) {
    EXPECT_NEAR(rotated[at] / std::sqrt(static_cast<double>(size)), want[at], tolerance) << at;
  }
}

TEST_F(EncodingVector, TheRoundedIntegersAreEqual) {
  std::vector<float> rotated(case_["rotated"].size());
  rotation_->Project(Clipped(), rotated);
  ListedRounding words(case_["rounding_words_u32"].get<std::vector<uint32_t>>());
  std::vector<int32_t> got(rotated.size());
  RoundStochastically(rotated, case_["scale"], words, got);
  EXPECT_EQ(got, case_["quantised"].get<std::vector<int32_t>>());
}

TEST_F(EncodingVector, TheDecodedVectorIsMet) {
  const std::vector<int32_t> quantised = case_["quantised"];
  const std::vector<double> want = case_["decoded"];
  std::vector<float> mean(quantised.size()), decoded(want.size());
  DequantiseSum(quantised, case_["scale"], 1, mean);
  rotation_->Expand(mean, decoded);
  for (size_t at = 0; at < want.size(); ++at) EXPECT_NEAR(decoded[at], want[at], 1e-6) << at;
}

// floor(t) + [r < floor((t - floor(t)) 2^32)] in exact integers.
int64_t RoundedByDefinition(float value, double scale, uint32_t word) {
  const double t = static_cast<double>(value) * scale;
  const auto below = static_cast<int64_t>(std::floor(t));
  const auto threshold = static_cast<uint64_t>(std::floor((t - std::floor(t)) * 4294967296.0));
  return below + (word < threshold ? 1 : 0);
}

TEST(RoundStochastically, FollowsTheRuleForAnyWord) {
  RandomCursor cursor(RandomStream(1, Purpose::kSampling, 0));
  std::vector<float> values;
  std::vector<uint32_t> words;
  for (int repeat = 0; repeat < 20000; ++repeat) {
    values.push_back(static_cast<float>((cursor.Unit() - 0.5) * std::pow(2.0, cursor.Bounded(20))));
    words.push_back(cursor.Next());
  }
  // Words on both sides of a threshold: t = 0.25, hence r < 2^30.
  for (const uint32_t word : {0u, 0x3FFFFFFFu, 0x40000000u, 0xFFFFFFFFu}) {
    values.push_back(0.25f);
    words.push_back(word);
    values.push_back(-3.75f);
    words.push_back(word);
  }
  for (const double scale : {1.0, 127.0, 0.37}) {
    ListedRounding source(words);
    std::vector<int32_t> got(values.size());
    RoundStochastically(values, scale, source, got);
    for (size_t at = 0; at < values.size(); ++at) {
      ASSERT_EQ(got[at], RoundedByDefinition(values[at], scale, words[at])) << values[at];
    }
  }
}

TEST(QuantiseToLattice, ClampsAndCounts) {
  SeededRounding rounding(3);
  const LatticeParams params{.p = 4, .v = 1};  // L = 7
  std::vector<int32_t> got(5);
  const std::vector<float> values = {1, -1, 1.5f, -100, 0};
  EXPECT_EQ(QuantiseToLattice(values, params, rounding, got), 2u);
  EXPECT_EQ(got, (std::vector<int32_t>{7, -7, 7, -7, 0}));
}

TEST(LatticeParams, AreCheckedByName) {
  EXPECT_TRUE((LatticeParams{.p = 2, .v = 1e-9}.Validate().ok()));
  EXPECT_NE(LatticeParams({.p = 31, .v = 1}).Validate().message().find("lattice.p"),
            std::string::npos);
  for (const double bad : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
    EXPECT_NE(LatticeParams({.p = 8, .v = bad}).Validate().message().find("lattice.v"),
              std::string::npos);
  }
  EXPECT_EQ(LatticeBound(3, 0), 3);
  EXPECT_DOUBLE_EQ(LatticeBound(3, 1 << 16), 24.0 / 256);
}

// Error of the mean of eight clients over its norm, all with the same normal numbers: that of the
// comment in lattice.h, and a fifth more or less of reach is worse. 2^17 numbers: the deviation of
// each figure is below half a percent of it, so 3 % is passed by chance less than once in 10^8.
TEST(LatticeDeviations, AreTheBestOfFewBits) {
  constexpr size_t kSize = 1 << 17, kClients = 8;
  std::vector<float> values(kSize);
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(random);
  const auto error = [&](int bits, double deviations) {
    const LatticeParams params{.p = bits,
                               .v = LatticeBound(std::sqrt(double{kSize}), kSize, deviations)};
    std::vector<int64_t> sum(kSize);
    std::vector<int32_t> integers(kSize);
    for (size_t client = 0; client < kClients; ++client) {
      SeededRounding rounding(client);
      QuantiseToLattice(values, params, rounding, integers);
      for (size_t at = 0; at < kSize; ++at) sum[at] += integers[at];
    }
    std::vector<float> mean(kSize);
    DequantiseSum(sum, params.scale(), kClients, mean);
    double squares = 0;
    for (size_t at = 0; at < kSize; ++at) squares += std::pow(double{mean[at]} - values[at], 2);
    return std::sqrt(squares / kSize);
  };
  for (const auto& [bits, stated] : {std::pair{2, 0.2875}, {3, 0.1283}, {4, 0.0644}}) {
    const double best = LatticeDeviations(bits);
    EXPECT_NEAR(error(bits, best), stated, 0.03 * stated) << bits;
    EXPECT_LT(error(bits, best), error(bits, 1.25 * best)) << bits;
    EXPECT_LT(error(bits, best), error(bits, 0.8 * best)) << bits;
    EXPECT_GT(error(bits, 8), 2 * stated) << bits;
  }
  for (const int bits : {8, 12, 30}) EXPECT_EQ(LatticeDeviations(bits), 8);
  EXPECT_NEAR(ShareBeyond(1.7), 0.0891, 1e-4);
}

// What masking relies on: the integers of several clients add, and their sum decodes to the sum of
// what each decodes to, exactly (scale 2^-7).
TEST(DequantiseSum, DecodesTheSumToTheSumOfTheDecoded) {
  constexpr size_t kSize = 1000, kClients = 5;
  const LatticeParams params{.p = 8, .v = 127.0 / 128};
  std::vector<int64_t> sum(kSize);
  std::vector<float> sum_of_decoded(kSize), decoded_sum(kSize);
  for (size_t client = 0; client < kClients; ++client) {
    SeededRounding rounding(client);
    std::vector<float> values(kSize), decoded(kSize);
    RandomStream(client, Purpose::kDirection, 0).FillUniform(0, values);
    std::vector<int32_t> integers(kSize);
    QuantiseToLattice(values, params, rounding, integers);
    DequantiseSum(integers, params.scale(), 1, decoded);
    for (size_t at = 0; at < kSize; ++at) {
      sum[at] += integers[at];
      sum_of_decoded[at] += decoded[at];
    }
  }
  DequantiseSum(sum, params.scale(), 1, decoded_sum);
  EXPECT_EQ(decoded_sum, sum_of_decoded);
}

}  // namespace
}  // namespace rivulet
