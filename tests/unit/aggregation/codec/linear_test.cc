#include "aggregation/codec/linear.h"

#include "aggregation/codec/lattice.h"
#include "tests/unit/aggregation/codec/codec_fixtures.h"

namespace rivulet {
namespace {

std::vector<float> NormalVector(size_t size, uint64_t seed) {
  std::vector<float> values(size);
  RandomStream(seed, Purpose::kDirection, 0).FillGauss(0, values);
  return values;
}

std::shared_ptr<const PublicWords> WordsOf(uint64_t root) {
  return std::make_shared<PhiloxWords>(RandomStream(root, Purpose::kRotation, 0));
}

TEST(WalshHadamard, EqualsItsDefinition) {
  for (const size_t n : {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 2048}) {
    const std::vector<float> x = NormalVector(n, n);
    std::vector<float> got = x;
    WalshHadamard(std::span<float>(got));
    for (size_t row = 0; row < n; row += 1 + n / 64) {
      double want = 0;
      for (size_t at = 0; at < n; ++at) {
        want += (std::popcount(row & at) % 2 != 0 ? -1.0 : 1.0) * double{x[at]};
      }
      ASSERT_NEAR(got[row], want, 1e-4) << n << " " << row;
    }
  }
}

TEST(WalshHadamard, TwiceIsTheInputTimesItsSize) {
  for (int log2 = 0; log2 <= 17; ++log2) {
    const size_t n = size_t{1} << log2;
    // Integers: every sum is exact.
    std::vector<float> x(n);
    RandomCursor cursor(RandomStream(1, Purpose::kSampling, 0));
    for (float& value : x) value = static_cast<float>(cursor.Bounded(63)) - 31;
    std::vector<float> got = x;
    const size_t most = std::min<size_t>(n, 1 << 9);  // 2^9 2^9 2^5 < 2^24
    WalshHadamard(std::span(got).first(most));
    WalshHadamard(std::span(got).first(most));
    for (size_t at = 0; at < most; ++at) ASSERT_EQ(got[at], x[at] * static_cast<float>(most));
    const std::vector<float> y = NormalVector(n, 2);
    std::vector<float> again = y;
    WalshHadamard(std::span<float>(again));
    WalshHadamard(std::span<float>(again));
    for (float& value : again) value /= static_cast<float>(n);
    ASSERT_LT(SquaredDistance(again, y), 1e-12 * static_cast<double>(n)) << n;
  }
}

// The butterflies are those of the plain algorithm in the same order: the same bits everywhere.
TEST(WalshHadamard, HasTheBitsOfThePlainAlgorithm) {
  for (const size_t n : {64, 4096, 8192, 65536}) {
    std::vector<float> want = NormalVector(n, 3), got = want;
    WalshHadamard(std::span<float>(got));
    for (size_t h = 1; h < n; h *= 2) {
      for (size_t base = 0; base < n; base += 2 * h) {
        for (size_t at = base; at < base + h; ++at) {
          const float a = want[at], b = want[at + h];
          want[at] = a + b;
          want[at + h] = a - b;
        }
      }
    }
    ASSERT_EQ(got, want) << n;
  }
}

TEST(Rotation, PutsElementJInBlockJModM) {
  class NoFlip : public PublicWords {
    void Fill(uint64_t, std::span<uint32_t> words) const override {
      std::fill(words.begin(), words.end(), 0u);
    }
  };
  constexpr size_t kSize = 1000, kBlock = 64, kBlocks = 16;
  const auto stage = *NewRotation(6, std::make_shared<NoFlip>());
  for (const size_t j : {0, 1, 15, 16, 500, 999}) {
    std::vector<float> x(kSize), y(stage->OutputSize(kSize));
    ASSERT_EQ(y.size(), kBlocks * kBlock);
    x[j] = 8;  // sqrt of the block
    stage->Project(x, y);
    for (size_t at = 0; at < y.size(); ++at) {
      const bool mine = at / kBlock == j % kBlocks;
      const bool minus = std::popcount((at % kBlock) & (j / kBlocks)) % 2 != 0;
      ASSERT_EQ(y[at], !mine ? 0.0f : minus ? -1.0f : 1.0f) << j << " " << at;
    }
  }
}

TEST(Rotation, ComesBackWhateverTheSize) {
  for (const int block_log2 : {0, 1, 3, 5, 7, 10}) {
    const auto stage = *NewRotation(block_log2, WordsOf(5));
    for (const size_t d : {0, 1, 3, 7, 8, 63, 1000, 1024, 5000, 20011}) {
      const std::vector<float> x = NormalVector(d, d);
      std::vector<float> y(stage->OutputSize(d)), back(d, 99.0f);
      stage->Project(x, y);
      ASSERT_NEAR(SquaresOf(y), SquaresOf(x), 1e-4 * SquaresOf(x)) << "orthonormal";
      stage->Expand(y, back);
      ASSERT_LE(SquaredDistance(back, x), 1e-10 * static_cast<double>(d)) << block_log2 << " " << d;
    }
  }
}

TEST(Rotation, ABlockSizeOutOfRangeIsRefused) {
  EXPECT_FALSE(NewRotation(-1, WordsOf(1)).ok());
  EXPECT_FALSE(NewRotation(25, WordsOf(1)).ok());
}

Manifest MatrixManifest() {
  return {{"a", DType::kF32, {30, 20}}, {"b", DType::kF32, {11}}, {"c", DType::kF32, {16, 5, 5}}};
}

std::vector<std::unique_ptr<LinearStage>> AllStages() {
  const size_t d = FlatNumbers(MatrixManifest());
  const PhiloxWords words(RandomStream(9, Purpose::kPublicSubset, 0));
  std::vector<std::unique_ptr<LinearStage>> stages;
  stages.push_back(NewIdentity());
  stages.push_back(*NewRotation(6, WordsOf(9)));
  stages.push_back(NewRandomK(d, 100, words, true));
  stages.push_back(NewPublicTopK(d, 100, NormalVector(d, 77), words));
  stages.push_back(NewCountSketch(5, 64, 9, 0));
  stages.push_back(NewLowRankLeft(MatrixManifest(), 3, 9, 0));
  stages.push_back(NewPowerSgdFirst(MatrixManifest(), 3, 9, 0));
  std::vector<float> left(stages.back()->OutputSize(d));
  stages.back()->Project(NormalVector(d, 78), left);
  stages.push_back(*NewPowerSgdSecond(MatrixManifest(), 3, 9, 0, left));
  return stages;
}

TEST(LinearStages, ProjectingASumIsSummingProjections) {
  const size_t d = FlatNumbers(MatrixManifest());
  for (const auto& stage : AllStages()) {
    const size_t size = stage->OutputSize(d);
    std::vector<float> sum(d), of_sum(size), part(size);
    std::vector<double> sum_of(size);
    for (uint64_t client = 0; client < 4; ++client) {
      const std::vector<float> x = NormalVector(d, client);
      for (size_t at = 0; at < d; ++at) sum[at] += x[at];
      stage->Project(x, part);
      for (size_t at = 0; at < size; ++at) sum_of[at] += double{part[at]};
    }
    stage->Project(sum, of_sum);
    for (size_t at = 0; at < size; ++at) {
      ASSERT_NEAR(of_sum[at], sum_of[at], 2e-4) << stage->name() << " " << at;
    }
  }
}

// The path of secure sums: every client projects and rounds, integers are added, the sum is
// expanded once. For the stages whose Expand is linear this is the sum of what each client decodes
// to.
TEST(LinearStages, TheIntegerSumDecodesToTheSumOfTheDecoded) {
  const size_t d = FlatNumbers(MatrixManifest());
  const LatticeParams params{.p = 16, .v = 60};
  for (const auto& stage : AllStages()) {
    if (stage->name() == "count-sketch") continue;
    const size_t size = stage->OutputSize(d);
    std::vector<int64_t> sum(size);
    std::vector<double> sum_of_decoded(d);
    std::vector<float> part(size), flat(d);
    for (uint64_t client = 0; client < 4; ++client) {
      SeededRounding rounding(client);
      std::vector<int32_t> integers(size);
      stage->Project(NormalVector(d, client), part);
      ASSERT_EQ(QuantiseToLattice(part, params, rounding, integers), 0u) << stage->name();
      for (size_t at = 0; at < size; ++at) sum[at] += integers[at];
      DequantiseSum(integers, params.scale(), 1, part);
      stage->Expand(part, flat);
      for (size_t at = 0; at < d; ++at) sum_of_decoded[at] += double{flat[at]};
    }
    DequantiseSum(sum, params.scale(), 1, part);
    stage->Expand(part, flat);
    for (size_t at = 0; at < d; ++at) {
      ASSERT_NEAR(flat[at], sum_of_decoded[at], 1e-3) << stage->name() << " " << at;
    }
  }
}

TEST(LowRankStages, OnePassIsTheProjectionOnTheSpaceOfItsStart) {
  const Manifest manifest = MatrixManifest();
  const size_t d = FlatNumbers(manifest);
  const std::vector<float> x = NormalVector(d, 3);
  const auto left = NewLowRankLeft(manifest, 2, 4, 0);
  std::vector<float> first(left->OutputSize(d)), back(d);
  left->Project(x, first);
  left->Expand(first, back);
  EXPECT_GT(SquaredDistance(back, x), 0.3 * SquaresOf(x));  // two dimensions of twenty, at random
  EXPECT_TRUE(std::equal(back.begin() + 600, back.begin() + 611, x.begin() + 600));
}

TEST(CountSketch, FindsTheHeavyNumbers) {
  constexpr size_t kSize = 20000;
  std::vector<float> x(kSize);
  for (size_t at = 0; at < kSize; ++at) x[at] = 0.01f * static_cast<float>(at % 7) - 0.03f;
  x[123] = 50, x[4567] = -70, x[19999] = 60;
  const auto sketch = NewCountSketch(5, 500, 1, 2);
  std::vector<float> table(sketch->OutputSize(kSize)), back(kSize);
  sketch->Project(x, table);
  sketch->Expand(table, back);
  for (const size_t at : {123, 4567, 19999}) EXPECT_NEAR(back[at], x[at], 1.0) << at;
  EXPECT_EQ(LargestIndices(back, 3), (std::vector<uint32_t>{123, 4567, 19999}));
}

TEST(Flatten, CopiesOnlyWhatDoesNotTouch) {
  std::vector<float> storage;
  const ParameterSet close = NormalUpdate({{"a", DType::kF32, {16}}, {"b", DType::kF32, {5}}}, 1);
  EXPECT_EQ(Flatten(close, storage).data(), close.floats(0).data());
  EXPECT_TRUE(storage.empty());
  const ParameterSet apart = NormalUpdate(AwkwardManifest(), 1);
  const std::span<const float> flat = Flatten(apart, storage);
  EXPECT_EQ(flat.data(), storage.data());
  ParameterSet back(AwkwardManifest());
  Unflatten(flat, back);
  EXPECT_EQ(back.Hash(), apart.Hash());
  // An empty tensor at the front lies where the next one does.
  const ParameterSet empty_first =
      NormalUpdate({{"a", DType::kF32, {0}}, {"b", DType::kF32, {5}}, {"c", DType::kF32, {3}}}, 1);
  std::vector<float> other;
  ParameterSet again(empty_first.manifest());
  Unflatten(Flatten(empty_first, other), again);
  EXPECT_EQ(again.Hash(), empty_first.Hash());
}

}  // namespace
}  // namespace rivulet
