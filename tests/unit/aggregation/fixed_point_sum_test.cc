#include "aggregation/fixed_point_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "aggregation/fixed_point_kernel.h"
#include "common/random.h"

namespace rivulet {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// round(value * weight * 2^24), ties to even, straight from the definition: value is a multiple of
// 2^-149, so value * 2^149 * weight fits 128 bits after dropping what only decides a tie.
int64_t Reference(float value, int64_t weight) {
  int exponent = 0;
  const double mantissa = std::frexp(static_cast<double>(value), &exponent);
  const auto digits = static_cast<__int128>(std::ldexp(mantissa, 24));  // exact integer
  __int128 product = digits * weight;                                   // * 2^(exponent - 24 + 24)
  if (exponent >= 0) return static_cast<int64_t>(product << exponent);
  if (exponent < -70) return 0;
  const __int128 unit = __int128{1} << -exponent;
  __int128 quotient = product / unit, rest = product % unit;
  if (rest < 0) rest += unit, quotient -= 1;
  if (2 * rest > unit || (2 * rest == unit && quotient % 2 != 0)) quotient += 1;
  return static_cast<int64_t>(quotient);
}

Manifest OneTensor(int64_t size) { return {{"w", DType::kF32, {size}}}; }

FixedPointSum SumOf(const Manifest& manifest) { return *FixedPointSum::Make(manifest); }

// A number of any magnitude below 128 with a random mantissa: every shift is met.
float AnyValue(RandomCursor& cursor) {
  const uint32_t sign = cursor.Next() & 0x80000000u;
  const uint32_t exponent = cursor.Bounded(134);  // 0 .. 133: subnormal to below 128
  return std::bit_cast<float>(sign | exponent << 23 | (cursor.Next() & 0x7FFFFFu));
}

int64_t AnyWeight(RandomCursor& cursor) {
  return 1 + (cursor.Next() >> (1 + cursor.Bounded(31))) % ((int64_t{1} << 31) - 2);
}

RandomCursor Cursor(uint64_t seed) { return RandomCursor(RandomStream(seed, Purpose::kSketch, 0)); }

TEST(RoundedProduct, EqualsTheDefinitionForEveryMagnitudeAndWeight) {
  RandomCursor cursor = Cursor(1);
  for (int repeat = 0; repeat < 200000; ++repeat) {
    const float value = AnyValue(cursor);
    const int64_t weight = AnyWeight(cursor);
    ASSERT_EQ(RoundedProduct(value, weight), Reference(value, weight)) << value << " " << weight;
    ASSERT_EQ(RoundedProduct(value, -weight), -Reference(value, weight)) << value << " " << weight;
  }
}

TEST(RoundedProduct, TiesGoToEven) {
  EXPECT_EQ(RoundedProduct(0x1p-25f, 1), 0);  // 0.5 -> 0
  EXPECT_EQ(RoundedProduct(0x3p-25f, 1), 2);  // 1.5 -> 2
  EXPECT_EQ(RoundedProduct(0x1p-25f, 5), 2);  // 2.5 -> 2
  EXPECT_EQ(RoundedProduct(-0x3p-25f, 1), -2);
  EXPECT_EQ(RoundedProduct(std::nextafter(0x1p-25f, 1.0f), 1), 1);
}

// 55 significant bits: (2^24 - 1) * (2^31 - 1) = 36028794854703105, which no double holds.
TEST(RoundedProduct, KeepsBitsThatADoubleWouldLose) {
  EXPECT_EQ(RoundedProduct(0xFFFFFFp-24f, 0x7FFFFFFF), 36028794854703105);
  EXPECT_EQ(RoundedProduct(0xFFFFFFp-17f, 0x7FFFFFFF), 36028794854703105 * 128);
}

TEST(AddRounded, TheVectorPathEqualsTheIntegerOne) {
  RandomCursor cursor = Cursor(2);
  for (int repeat = 0; repeat < 2000; ++repeat) {
    const uint32_t largest = cursor.Bounded(134);
    std::vector<float> values(1 + cursor.Bounded(40));
    for (float& value : values) {
      value = AnyValue(cursor);
      while ((std::bit_cast<uint32_t>(value) << 1 >> 24) > largest) value /= 1024;
    }
    const int64_t weight = AnyWeight(cursor);
    std::vector<int64_t> words(values.size(), 7);
    AddRounded(values, weight, LargestMagnitudeBits(values), words.data());
    for (size_t index = 0; index < values.size(); ++index) {
      ASSERT_EQ(words[index], 7 + Reference(values[index], weight));
    }
  }
}

// Weights to 2^29 with values whose product stays just below the limit, where the last bits tell.
TEST(AddTogether, EqualsTheDefinitionWhereDoublesDoAndIsUndoneToTheBit) {
  RandomCursor cursor = Cursor(5);
  for (int repeat = 0; repeat < 2000; ++repeat) {
    const size_t size = 1 + cursor.Bounded(40), count = 1 + cursor.Bounded(kMostTogether);
    const int place = static_cast<int>(cursor.Bounded(30));
    const int64_t heaviest = place == 29 ? (int64_t{1} << 29) - 1 : int64_t{1} << place;
    const float limit = std::min(128.0f, std::ldexp(1.0f, 27 - place));
    std::vector<std::vector<float>> values(count, std::vector<float>(size));
    std::vector<ScaledValues> updates;
    std::vector<int64_t> want(size, -9);
    for (std::vector<float>& update : values) {
      const bool most = update.data() == values[0].data();
      const int64_t weight = most ? heaviest : 1 + cursor.Bounded(static_cast<uint32_t>(heaviest));
      for (size_t index = 0; index < size; ++index) {
        update[index] = AnyValue(cursor);
        while (std::abs(update[index]) >= limit) update[index] /= 2;
        want[index] += Reference(update[index], weight);
      }
      updates.push_back({update.data(), static_cast<double>(weight) * 0x1p24});
    }
    std::vector<int64_t> words(size, -9);
    EXPECT_TRUE(FitsDoubles(heaviest, AddTogether(updates, size, words.data())));
    ASSERT_EQ(words, want) << heaviest;
    const float bad[] = {kNan, kInf, -kInf, 1e38f, 0x1p28f / static_cast<float>(heaviest)};
    values[count - 1][size - 1] = bad[repeat % 5];
    EXPECT_FALSE(FitsDoubles(heaviest, AddTogether(updates, size, words.data())));
    SubtractTogether(updates, size, words.data());
    ASSERT_EQ(words, want);
  }
}

TEST(FitsDoubles, AsFarAsTheProductIsExactAndRoundsAtTheUnit) {
  const auto fits = [](int64_t weight, float value) {
    return FitsDoubles(weight, std::bit_cast<uint32_t>(value));
  };
  EXPECT_TRUE(fits(1 << 20, std::nextafter(128.0f, 0.0f)));
  EXPECT_FALSE(fits((1 << 20) + 1, std::nextafter(128.0f, 0.0f)));
  EXPECT_TRUE(fits(1 << 27, std::nextafter(1.0f, 0.0f)));
  EXPECT_FALSE(fits(-(1 << 27), 1.0f));
  EXPECT_TRUE(fits((1 << 29) - 1, 0.1f));
  EXPECT_FALSE(fits(1 << 29, 0));
  EXPECT_FALSE(fits(1, kNan));
  EXPECT_FALSE(fits(1, kInf));
}

ParameterSet RandomUpdate(const Manifest& manifest, uint64_t seed) {
  RandomCursor cursor = Cursor(seed);
  ParameterSet update(manifest);
  for (size_t tensor = 0; tensor < update.size(); ++tensor) {
    for (float& value : update.floats(tensor)) {
      value = static_cast<float>((cursor.Unit() - 0.5) * 2e-3 * (1 + cursor.Bounded(1000)));
    }
  }
  return update;
}

const Manifest& Several() {
  static const Manifest manifest = {
      {"a", DType::kF32, {3, 7}}, {"b", DType::kF32, {20001}}, {"c", DType::kF32, {}}};
  return manifest;
}

std::vector<int64_t> AllWords(const FixedPointSum& sum) {
  std::vector<int64_t> words;
  for (size_t tensor = 0; tensor < sum.manifest().size(); ++tensor) {
    words.insert(words.end(), sum.words(tensor).begin(), sum.words(tensor).end());
  }
  return words;
}

// A round as the coordinator adds it up: pieces of 9,000 values of up to four updates at a time.
absl::Status AddInPieces(std::span<const WeightedUpdate> updates, FixedPointSum& sum) {
  for (const WeightedUpdate& update : updates) RV_RETURN_IF_ERROR(sum.AddWeight(update.weight));
  for (size_t group = 0; group < updates.size(); group += FixedPointSum::kTogether) {
    const auto together =
        updates.subspan(group, std::min(FixedPointSum::kTogether, updates.size() - group));
    for (size_t tensor = 0; tensor < sum.manifest().size(); ++tensor) {
      const size_t size = sum.words(tensor).size();
      for (size_t first = 0; first < size; first += 9000) {
        std::vector<WeightedPiece> pieces;
        for (const WeightedUpdate& update : together) {
          pieces.push_back(
              {update.values[tensor].subspan(first, std::min<size_t>(9000, size - first)),
               update.weight});
        }
        RV_RETURN_IF_ERROR(sum.AddPieces(tensor, first, pieces));
      }
    }
  }
  return absl::OkStatus();
}

class RoundOfUpdates : public testing::Test {
 protected:
  RoundOfUpdates() {
    for (uint64_t client = 0; client < 7; ++client) {
      sets_.push_back(RandomUpdate(Several(), 100 + client));
      weights_.push_back(1 + 977 * static_cast<int64_t>(client * client));
    }
    FixedPointSum sum = SumOf(Several());
    for (size_t client = 0; client < sets_.size(); ++client) {
      EXPECT_TRUE(sum.Add(sets_[client], weights_[client]).ok());
    }
    words_ = AllWords(sum);
    mean_ = sum.Mean()->HashHex();
  }
  std::vector<WeightedUpdate> Views() const {
    std::vector<WeightedUpdate> views;
    for (size_t client = 0; client < sets_.size(); ++client) {
      views.push_back({ViewOf(sets_[client]), weights_[client]});
    }
    return views;
  }
  std::vector<ParameterSet> sets_;
  std::vector<int64_t> weights_;
  std::vector<int64_t> words_;
  std::string mean_;
};

TEST_F(RoundOfUpdates, AnyOrderOfArrivalGivesTheSameWords) {
  RandomCursor cursor = Cursor(3);
  for (int repeat = 0; repeat < 20; ++repeat) {
    FixedPointSum sum = SumOf(Several());
    for (uint32_t client : Permutation(cursor, static_cast<uint32_t>(sets_.size()))) {
      ASSERT_TRUE(sum.Add(sets_[client], weights_[client]).ok());
    }
    EXPECT_EQ(AllWords(sum), words_);
    EXPECT_EQ(sum.Mean()->HashHex(), mean_);
  }
}

TEST_F(RoundOfUpdates, InPiecesAndMergedGiveTheSameWords) {
  FixedPointSum pieces = SumOf(Several());
  ASSERT_TRUE(AddInPieces(Views(), pieces).ok());
  EXPECT_EQ(AllWords(pieces), words_);

  FixedPointSum left = SumOf(Several()), right = SumOf(Several());
  for (size_t client = 0; client < sets_.size(); ++client) {
    ASSERT_TRUE((client % 2 ? left : right).Add(sets_[client], weights_[client]).ok());
  }
  ASSERT_TRUE(left.Merge(right).ok());
  EXPECT_EQ(AllWords(left), words_);
  EXPECT_EQ(left.weight(), pieces.weight());
  EXPECT_EQ(left.Mean()->HashHex(), mean_);
}

TEST_F(RoundOfUpdates, ABadValueAnywhereIsNamedAndNothingIsAdded) {
  FixedPointSum sum = SumOf(Several());
  ASSERT_TRUE(AddInPieces(Views(), sum).ok());
  for (const float bad : {kNan, kInf, -kInf, 128.0f, -128.0f}) {
    ParameterSet broken = sets_[2];
    broken.floats(1)[20000] = bad;
    const absl::Status alone = sum.Add(broken, 3);
    EXPECT_EQ(alone.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(alone.message(),
              "b[20000]: got " + std::to_string(bad) + ", want a finite number with |delta| < 128");
    EXPECT_EQ(AllWords(sum), words_);
    EXPECT_EQ(sum.Mean()->HashHex(), mean_);
    // Together, whether the kernel takes all four at once or a weight is beyond doubles.
    for (const int64_t heavy : {int64_t{5}, int64_t{1} << 25, int64_t{1} << 29}) {
      FixedPointSum other = SumOf(Several());
      ASSERT_TRUE(other.AddWeight(heavy).ok());
      const WeightedPiece pieces[] = {{std::as_const(sets_[0]).floats(1), 1},
                                      {std::as_const(sets_[1]).floats(1), 2},
                                      {std::as_const(broken).floats(1), 3},
                                      {std::as_const(sets_[3]).floats(1), heavy}};
      const absl::Status together = other.AddPieces(1, 0, pieces);
      EXPECT_EQ(together.message(), "update 2: " + std::string(alone.message()));
      EXPECT_EQ(AllWords(other), AllWords(SumOf(Several())));
    }
  }
}

TEST(FixedPointSum, HeavyAndLightUpdatesAddUpInAnyGrouping) {
  ParameterSet update = RandomUpdate(Several(), 9);
  update.floats(1)[12345] =
      127.5f;  // with 2^21 beyond doubles: its stretch is taken back, and alone
  const std::vector<WeightedUpdate> views = {{ViewOf(update), 3},
                                             {ViewOf(update), int64_t{1} << 20},
                                             {ViewOf(update), (int64_t{1} << 20) + 1},
                                             {ViewOf(update), int64_t{1} << 21},
                                             {ViewOf(update), 1234567891}};
  FixedPointSum sum = SumOf(Several());
  ASSERT_TRUE(AddInPieces(views, sum).ok());
  for (size_t index = 0; index < 20001; ++index) {
    int64_t want = 0;
    for (const WeightedUpdate& view : views)
      want += Reference(update.floats(1)[index], view.weight);
    ASSERT_EQ(std::as_const(sum).words(1)[index], want);
  }
}

TEST(FixedPointSum, TheLargestAllowedRoundDoesNotOverflow) {
  const float most = std::nextafter(128.0f, 0.0f);
  for (const float sign : {1.0f, -1.0f}) {
    FixedPointSum sum = SumOf(OneTensor(3));
    ParameterSet update(OneTensor(3));
    for (float& value : update.floats(0)) value = sign * most;
    ASSERT_TRUE(sum.Add(update, 0x40000000).ok());
    ASSERT_TRUE(sum.Add(update, 0x3FFFFFFF).ok());
    // 0xFFFFFF * 2^7 * (2^31 - 1), by hand in integers.
    EXPECT_EQ(sum.words(0)[2], static_cast<int64_t>(sign) * 0xFFFFFF * 128 * 0x7FFFFFFF);
    EXPECT_EQ(sum.Mean()->floats(0)[2], sign * most);
    const absl::Status full = sum.Add(update, 1);
    EXPECT_EQ(full.code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(full.message(), "sum of weights: got 2147483647 + 1, want below 2^31");
    EXPECT_EQ(sum.weight(), 0x7FFFFFFF);
  }
}

TEST(FixedPointSum, WeightsOutOfRangeAreRefused) {
  FixedPointSum sum = SumOf(OneTensor(1));
  const ParameterSet update(OneTensor(1));
  for (const int64_t weight :
       {int64_t{0}, int64_t{-1}, int64_t{1} << 31, std::numeric_limits<int64_t>::max(),
        std::numeric_limits<int64_t>::min()}) {
    EXPECT_EQ(sum.Add(update, weight).code(), absl::StatusCode::kInvalidArgument) << weight;
    EXPECT_EQ(sum.AddWeight(weight).code(), absl::StatusCode::kInvalidArgument) << weight;
  }
  EXPECT_EQ(sum.weight(), 0);
  EXPECT_EQ(sum.Mean().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(FixedPointSum, TwoSumsTooHeavyTogetherDoNotMerge) {
  FixedPointSum left = SumOf(OneTensor(1)), right = SumOf(OneTensor(1));
  const ParameterSet update(OneTensor(1));
  ASSERT_TRUE(left.Add(update, 0x40000000).ok());
  ASSERT_TRUE(right.Add(update, 0x40000000).ok());
  EXPECT_EQ(left.Merge(right).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(left.Merge(SumOf(OneTensor(2))).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(left.weight(), 0x40000000);
}

TEST(FixedPointSum, ShapesMustBeTheManifests) {
  FixedPointSum sum = SumOf(OneTensor(4));
  EXPECT_EQ(sum.Add(ParameterSet(OneTensor(5)), 1).message(),
            "tensor 0: got w F32 [5], want w F32 [4]");
  const std::vector<float> five(5);
  EXPECT_EQ(sum.Add(UpdateView{five}, 1).message(), "w: got 5 values, want 4");
  EXPECT_EQ(sum.Add(UpdateView{}, 1).message(), "update: got 0 tensors, want 1");
  EXPECT_EQ(FixedPointSum::Make({{"h", DType::kF16, {1}}}).status().message(),
            "h: got dtype F16, want F32");
}

TEST(FixedPointSum, PiecesMustLieInTheirTensorAndBeAnnounced) {
  FixedPointSum sum = SumOf(OneTensor(4));
  const std::vector<float> two(2, 1.0f), one(1, 1.0f), bad = {0, kNan};
  const auto add = [&](size_t tensor, size_t first, std::vector<WeightedPiece> pieces) {
    return sum.AddPieces(tensor, first, pieces);
  };
  EXPECT_EQ(add(0, 0, {{two, 1}}).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(sum.AddWeight(1).ok());
  EXPECT_EQ(add(0, 3, {{two, 1}}).message(), "w: got 2 values at 3, want them within 4");
  EXPECT_EQ(add(0, std::numeric_limits<size_t>::max(), {{two, 1}}).code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(add(1, 0, {{two, 1}}).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(add(0, 0, {{two, 1}, {one, 1}}).message(),
            "w: got pieces of 1 and 2 values, want one length");
  EXPECT_EQ(add(0, 0, std::vector<WeightedPiece>(5, {two, 1})).message(),
            "pieces: got 5, want at most 4");
  EXPECT_EQ(add(0, 2, {{bad, 1}}).message(),
            "update 0: w[3]: got nan, want a finite number with |delta| < 128");
  EXPECT_TRUE(add(0, 0, {}).ok());
  EXPECT_TRUE(add(0, 2, {{two, 1}}).ok());
  EXPECT_EQ(sum.words(0)[1], 0);
  EXPECT_EQ(sum.words(0)[2], 1 << 24);
}

// By hand: (1 * 0.5 + 3 * -0.25) / 4 = -0.0625.
TEST(FixedPointSum, MeanIsTheWeightedMean) {
  FixedPointSum sum = SumOf(OneTensor(1));
  ParameterSet update(OneTensor(1));
  update.floats(0)[0] = 0.5f;
  ASSERT_TRUE(sum.Add(update, 1).ok());
  update.floats(0)[0] = -0.25f;
  ASSERT_TRUE(sum.Add(update, 3).ok());
  EXPECT_EQ(sum.Mean()->floats(0)[0], -0.0625f);
}

// Tensors that are worth several threads beside some that are not.
TEST(FixedPointSum, MeanOnAllCoresIsEveryWordDivided) {
  const Manifest uneven = {{"a", DType::kF32, {(1 << 20) + 1}},
                           {"b", DType::kF32, {7}},
                           {"c", DType::kF32, {(1 << 19) + 3}}};
  FixedPointSum sum = SumOf(uneven);
  ASSERT_TRUE(sum.Add(RandomUpdate(uneven, 5), 3).ok());
  ASSERT_TRUE(sum.Add(RandomUpdate(uneven, 6), 8).ok());
  const ParameterSet mean = *sum.Mean();
  for (size_t tensor = 0; tensor < uneven.size(); ++tensor) {
    const auto words = sum.words(tensor);
    std::vector<float> want(words.size());
    std::transform(words.begin(), words.end(), want.begin(), [](int64_t word) {
      return static_cast<float>(static_cast<double>(word) / (11 * 0x1p24));
    });
    EXPECT_TRUE(std::equal(want.begin(), want.end(), mean.floats(tensor).begin())) << tensor;
  }
}

}  // namespace
}  // namespace rivulet
