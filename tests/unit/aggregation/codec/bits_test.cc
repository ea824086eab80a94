#include "aggregation/codec/bits.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/random.h"

namespace rivulet {
namespace {

TEST(PackCodes, PutsCodeIAtBitsFromIB) {
  RandomCursor cursor(RandomStream(1, Purpose::kSampling, 0));
  for (uint32_t bits = 1; bits <= 16; ++bits) {
    for (const size_t n : {0, 1, 7, 8, 9, 31, 200}) {
      std::vector<uint16_t> codes(n), back(n);
      for (uint16_t& code : codes) code = static_cast<uint16_t>(cursor.Next() & ((1u << bits) - 1));
      std::vector<uint8_t> packed(PackedBytes(n, bits) + 1, 0xA5);
      PackCodes(codes, bits, packed.data());
      EXPECT_EQ(packed.back(), 0xA5) << "nothing behind the last byte";
      for (size_t bit = 0; bit < 8 * PackedBytes(n, bits); ++bit) {
        const int want = bit / bits < n ? codes[bit / bits] >> (bit % bits) & 1 : 0;
        ASSERT_EQ(packed[bit / 8] >> (bit % 8) & 1, want) << bits << " " << n << " " << bit;
      }
      EXPECT_TRUE(UnpackCodes(packed.data(), bits, back));
      EXPECT_EQ(back, codes);
    }
  }
}

TEST(PackCodes, LengthIsTheCeilingOfTheBits) {
  EXPECT_EQ(PackedBytes(13, 5), 9u);
  EXPECT_EQ(PackedBytes(8, 3), 3u);
  EXPECT_EQ(PackedBytes(0, 7), 0u);
  EXPECT_EQ(PackedBytes(size_t{1} << 31, 16), size_t{1} << 32);
}

TEST(UnpackCodes, SeesAFillingBit) {
  const uint8_t packed[2] = {0xFF, 0x10};  // four codes of three bits end at bit 12
  std::vector<uint16_t> codes(4);
  EXPECT_FALSE(UnpackCodes(packed, 3, codes));
}

// d indices drawn with probability p: the entropy of their positions is H(p) / p bits each, 8.08,
// 7.07 and 5.73 at 1, 2 and 5 %.
TEST(Rice, GapsAreWithinATenthOfTheEntropy) {
  constexpr size_t kD = 1 << 20;
  for (const double p : {0.01, 0.02, 0.05}) {
    RandomCursor cursor(RandomStream(2, Purpose::kSampling, 0));
    std::vector<uint32_t> indices;
    for (uint32_t index = 0; index < kD; ++index) {
      if (cursor.Unit() < p) indices.push_back(index);
    }
    std::string bytes;
    AppendRice(indices, RiceParameter(kD, indices.size()), bytes);
    const double bound = -(p * std::log2(p) + (1 - p) * std::log2(1 - p)) / p;
    const double bits =
        8.0 * static_cast<double>(bytes.size()) / static_cast<double>(indices.size());
    EXPECT_LT(bits, 1.10 * bound) << p;
    EXPECT_GT(bits, 0.99 * bound) << p;
    EXPECT_LE(bytes.size(), MaxRiceBytes(kD, indices.size()));
  }
}

void ExpectRiceRoundTrip(const std::vector<uint32_t>& indices, size_t d) {
  const uint32_t parameter = RiceParameter(d, indices.size());
  std::string bytes;
  AppendRice(indices, parameter, bytes);
  EXPECT_LE(bytes.size(), MaxRiceBytes(d, indices.size()));
  const auto back = DecodeRice(bytes, parameter, d, indices.size());
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, indices);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeRice(bytes.substr(0, size), parameter, d, indices.size()).ok());
  }
  EXPECT_FALSE(DecodeRice(bytes + '\0', parameter, d, indices.size()).ok());
}

TEST(Rice, AnyIndicesComeBack) {
  ExpectRiceRoundTrip({}, 0);
  ExpectRiceRoundTrip({0}, 1);
  ExpectRiceRoundTrip({0, 1, 2, 3}, 4);
  ExpectRiceRoundTrip({4294967294u}, 4294967295u);
  ExpectRiceRoundTrip({0, 4294967294u}, 4294967295u);
  // The longest code for its parameter: all gap at the end, then at the beginning.
  std::vector<uint32_t> low(1000), high(1000);
  for (uint32_t at = 0; at < 1000; ++at) low[at] = at, high[at] = 1000000 - 1000 + at;
  ExpectRiceRoundTrip(low, 1000000);
  ExpectRiceRoundTrip(high, 1000000);
}

TEST(Rice, AnIndexBehindTheEndIsRefused) {
  std::string bytes;
  AppendRice(std::vector<uint32_t>{5, 700}, 3, bytes);
  EXPECT_TRUE(DecodeRice(bytes, 3, 701, 2).ok());
  EXPECT_EQ(DecodeRice(bytes, 3, 700, 2).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Rice, AFillingBitThatIsSetIsRefused) {
  std::string bytes;
  AppendRice(std::vector<uint32_t>{1}, 2, bytes);  // a one, then 01: three bits
  ASSERT_EQ(bytes.size(), 1u);
  EXPECT_TRUE(DecodeRice(bytes, 2, 10, 1).ok());
  bytes[0] = static_cast<char>(bytes[0] | 8);
  EXPECT_FALSE(DecodeRice(bytes, 2, 10, 1).ok());
}

}  // namespace
}  // namespace rivulet
