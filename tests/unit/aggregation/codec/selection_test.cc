#include <algorithm>
#include <set>

#include "aggregation/codec/linear.h"
#include "tests/unit/aggregation/codec/codec_fixtures.h"

namespace rivulet {
namespace {

PhiloxWords SubsetWords(uint64_t root, uint64_t index) {
  return PhiloxWords(RandomStream(root, Purpose::kPublicSubset, index));
}

// docs/formats/randomness.md and the golden values of the generator.
TEST(StratifiedIndices, AreTheGoldenOnes) {
  EXPECT_EQ(StratifiedIndices(SubsetWords(0x0123456789ABCDEF, 5), 1000, 10),
            (std::vector<uint32_t>{65, 177, 276, 330, 498, 566, 620, 758, 823, 908}));
}

TEST(StratifiedIndices, TakeOneOfEachStratumAndTheLastTakesTheRest) {
  const std::vector<uint32_t> indices = StratifiedIndices(SubsetWords(1, 1), 1009, 100);
  for (size_t stratum = 0; stratum < indices.size(); ++stratum) {
    EXPECT_GE(indices[stratum], stratum * 10);
    EXPECT_LT(indices[stratum], stratum * 10 + StratumSize(1009, 100, stratum));
  }
  EXPECT_EQ(StratumSize(1009, 100, 98), 10u);
  EXPECT_EQ(StratumSize(1009, 100, 99), 19u);
  EXPECT_TRUE(StratifiedIndices(SubsetWords(1, 1), 0, 0).empty());
}

TEST(StrataFor, KeepsTheLastStratumBelowTwice) {
  for (const size_t d : {1, 2, 9, 10, 11, 999, 100003}) {
    for (const double fraction : {1.0, 0.3, 0.01, 1e-9}) {
      const size_t k = StrataFor(d, fraction);
      ASSERT_GE(k, 1u);
      ASSERT_LE(k, d);
      EXPECT_LT(StratumSize(d, k, k - 1), 2 * (d / k));
    }
  }
  EXPECT_EQ(StrataFor(0, 0.5), 0u);
  EXPECT_EQ(StrataFor(1000000, 0.01), 10000u);
}

std::vector<uint32_t> LargestBySorting(std::span<const float> values, size_t k) {
  std::vector<uint32_t> order(values.size());
  for (uint32_t at = 0; at < order.size(); ++at) order[at] = at;
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::fabs(values[a]) > std::fabs(values[b]);
  });
  order.resize(k);
  std::sort(order.begin(), order.end());
  return order;
}

TEST(LargestIndices, AreThoseOfASort) {
  for (const size_t d : {1, 5, 1000, 70000, 200000}) {
    std::vector<float> values(d);
    RandomStream(d, Purpose::kDirection, 0).FillGauss(0, values);
    for (const double fraction : {0.0, 0.001, 0.01, 0.3, 1.0}) {
      const auto k = static_cast<size_t>(fraction * static_cast<double>(d));
      ASSERT_EQ(LargestIndices(values, k), LargestBySorting(values, k)) << d << " " << fraction;
    }
  }
}

TEST(LargestIndices, OfEqualOnesTakesTheFirst) {
  std::vector<float> values(100000);
  for (size_t at = 0; at < values.size(); ++at) {
    values[at] = static_cast<float>(at % 3) * (at % 2 == 0 ? 1.0f : -1.0f);
  }
  for (const size_t k : {1, 100, 33333, 33334, 90000}) {
    ASSERT_EQ(LargestIndices(values, k), LargestBySorting(values, k)) << k;
  }
  EXPECT_EQ(LargestIndices(std::vector<float>(100000), 3), (std::vector<uint32_t>{0, 1, 2}));
}

// A sample that misses the few large numbers, and one that sees nothing else.
TEST(LargestIndices, AreRightWhenASampleMisleads) {
  std::vector<float> spiked(1 << 20, 1e-3f), clustered(1 << 20);
  for (size_t at = 5; at < spiked.size(); at += 100003) spiked[at] = 1;
  RandomStream(1, Purpose::kDirection, 0).FillGauss(0, std::span(clustered).first(3000));
  for (const size_t k : {5, 11, 1000, 3500}) {
    ASSERT_EQ(LargestIndices(spiked, k), LargestBySorting(spiked, k)) << k;
    ASSERT_EQ(LargestIndices(clustered, k), LargestBySorting(clustered, k)) << k;
  }
}

TEST(PublicSupport, IsNineTenthsLargestAndOneTenthStrata) {
  constexpr size_t kSize = 5000, kKept = 500;
  std::vector<float> previous(kSize);
  RandomStream(2, Purpose::kDirection, 0).FillGauss(0, previous);
  const std::vector<uint32_t> support = PublicSupport(previous, kSize, kKept, SubsetWords(1, 1));
  ASSERT_EQ(support.size(), kKept);
  ASSERT_TRUE(std::is_sorted(support.begin(), support.end()));
  EXPECT_EQ(std::set<uint32_t>(support.begin(), support.end()).size(), kKept);
  const std::vector<uint32_t> top = LargestIndices(previous, 450);
  EXPECT_TRUE(std::includes(support.begin(), support.end(), top.begin(), top.end()));
  EXPECT_NE(support, PublicSupport(previous, kSize, kKept, SubsetWords(1, 2)));
  EXPECT_EQ(PublicSupport({}, kSize, kKept, SubsetWords(1, 1)),
            StratifiedIndices(SubsetWords(1, 1), kSize, kKept));
}

TEST(PublicSupport, EveryCoordinateIsReachedInTime) {
  constexpr size_t kSize = 200, kKept = 20;
  std::vector<float> previous(kSize);
  for (size_t at = 0; at < kSize; ++at) previous[at] = static_cast<float>(at);
  std::set<uint32_t> reached;
  // Missing one of 182 in 4000 draws of 2 has a probability below 200 (1 - 2/182)^4000 = 1e-17.
  for (uint64_t round = 0; round < 4000; ++round) {
    for (const uint32_t index : PublicSupport(previous, kSize, kKept, SubsetWords(3, round))) {
      reached.insert(index);
    }
  }
  EXPECT_EQ(reached.size(), kSize);
}

TEST(TopKCodec, KeepsTheLargestAndNothingElse) {
  const auto codec = CodecFor({.name = "top-k", .fraction = 0.4, .values = "f32"});
  const ParameterSet update = UpdateOf({1, -5, 2, 4, -3});
  EXPECT_EQ(FlatCopy(Decoded(*codec, *codec->Encode(update, {}), update.manifest(), {})),
            (std::vector<float>{0, -5, 0, 4, 0}));
}

TEST(RandomKCodec, ScalesByTheStratumOrKeepsTheResidual) {
  const auto codec = CodecFor({.name = "random-k", .fraction = 0.25, .values = "f32"});
  const ParameterSet update = UpdateOf({1, 2, 3, 4, 5, 6, 7, 8, 9});  // strata of 4 and 5
  const CodecContext context{.root = 3};
  const std::vector<float> scaled =
      FlatCopy(Decoded(*codec, *codec->Encode(update, context), update.manifest(), context));
  ParameterSet residual(update.manifest());
  CodecContext with_residual = context;
  with_residual.residual = &residual;
  const std::vector<float> plain =
      FlatCopy(Decoded(*codec, *codec->Encode(update, with_residual), update.manifest(), context));
  size_t kept = 0;
  for (size_t at = 0; at < scaled.size(); ++at) {
    if (plain[at] == 0) continue;
    ++kept;
    EXPECT_EQ(plain[at], static_cast<float>(at + 1));
    EXPECT_EQ(scaled[at], plain[at] * (at < 4 ? 4 : 5));
  }
  EXPECT_EQ(kept, 2u);
}

}  // namespace
}  // namespace rivulet
