#include "privacy/secagg/shared/ring.h"

#include <gtest/gtest.h>

#include "privacy/secagg/shared/packing.h"
#include "tests/unit/in_child.h"
#include "tests/unit/privacy/secagg/ring_vectors.h"

namespace rivulet::secagg {
namespace {

// One bit after the other, straight from the definition.
std::string PackedByDefinition(const RingVector& vector) {
  std::string bytes(PackedBytes(vector.size(), vector.bits()), '\0');
  size_t bit = 0;
  for (size_t index = 0; index < vector.size(); ++index) {
    for (uint8_t place = 0; place < vector.bits(); ++place, ++bit) {
      const uint64_t set = vector.At(index) >> place & 1;
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] | set << bit % 8);
    }
  }
  return bytes;
}

TEST(RingVector, WordsFollowTheKeystream) {
  for (uint8_t bits = kMinBits; bits <= kMaxBits; ++bits) {
    const size_t wanted = bits <= 16 ? 2 : bits <= 32 ? 4 : 8;
    EXPECT_EQ(RingVector(bits, 3).raw().size(), 3 * wanted);
  }
}

TEST(RingVector, SignedValuesAreTwosComplement) {
  for (uint8_t bits = kMinBits; bits <= kMaxBits; ++bits) {
    RingVector vector(bits, 5);
    const int64_t half = int64_t{1} << (bits - 1);
    const int64_t values[] = {0, -1, half - 1, -half, 17};
    for (size_t index = 0; index < 5; ++index) vector.SetSigned(index, values[index]);
    for (size_t index = 0; index < 5; ++index) EXPECT_EQ(vector.SignedAt(index), values[index]);
    EXPECT_EQ(vector.At(1), (uint64_t{1} << bits) - 1);
    vector.SetSigned(0, half);  // one too large wraps around
    EXPECT_EQ(vector.SignedAt(0), -half);
  }
}

// Sums run modulo 2^(8 word bytes); one reduction in the end gives the same ring element.
TEST(RingVector, SumsMayBeReducedOnce) {
  std::mt19937_64 random(1);
  for (uint8_t bits = kMinBits; bits <= kMaxBits; ++bits) {
    RingVector sum(bits, 40);
    std::vector<uint64_t> wanted(40);
    for (int each = 0; each < 300; ++each) {
      const RingVector other = RandomRing(random, bits, 40);
      each % 3 == 0 ? sum.Subtract(other) : sum.Add(other);
      for (size_t at = 0; at < 40; ++at) wanted[at] += each % 3 == 0 ? -other.At(at) : other.At(at);
    }
    const RingVector before = sum;
    sum.Reduce();
    EXPECT_EQ(before, sum);
    const uint64_t low = (uint64_t{1} << bits) - 1;
    for (size_t at = 0; at < 40; ++at) EXPECT_EQ(sum.At(at), wanted[at] & low) << int{bits};
  }
}

TEST(RingVector, EqualityLooksAtTheRingAlone) {
  RingVector a(12, 2), b(12, 2);
  a.raw()[1] = 0x70;  // bits 12 .. 14 of the first word
  EXPECT_EQ(a, b);
  a.raw()[1] = 0x08;
  EXPECT_FALSE(a == b);
  EXPECT_FALSE(RingVector(12, 2) == RingVector(13, 2));
  EXPECT_FALSE(RingVector(12, 2) == RingVector(12, 3));
}

TEST(RingVector, MistakesOfTheCallerEndTheProcess) {
  EXPECT_EQ(InChild([] { return static_cast<int>(RingVector(7, 1).size()); }), 128 + SIGABRT);
  EXPECT_EQ(InChild([] { return static_cast<int>(RingVector(63, 1).size()); }), 128 + SIGABRT);
  EXPECT_EQ(InChild([] { return RingVector(9, 1).Add(RingVector(9, 2)), 0; }), 128 + SIGABRT);
}

TEST(Packing, EqualsTheDefinitionForEveryWidth) {
  std::mt19937_64 random(2);
  for (uint8_t bits = kMinBits; bits <= kMaxBits; ++bits) {
    for (size_t size = 0; size < 70; ++size) {
      const RingVector vector = RandomRing(random, bits, size);
      const std::string packed = Pack(vector);
      ASSERT_EQ(packed, PackedByDefinition(vector)) << int{bits} << " " << size;
      const auto unpacked = Unpack(packed, size, bits);
      ASSERT_TRUE(unpacked.ok()) << unpacked.status();
      ASSERT_EQ(*unpacked, vector) << int{bits} << " " << size;
    }
  }
}

// What lies above the ring in memory does not travel.
TEST(Packing, DropsTheBitsAboveTheRing) {
  for (const uint8_t bits : {12, 24, 40}) {
    RingVector vector(bits, 19);
    std::ranges::fill(vector.raw(), 0xFF);
    EXPECT_EQ(Pack(vector), PackedByDefinition(vector));
  }
}

TEST(Packing, PiecesJoinAtWholeBytes) {
  std::mt19937_64 random(3);
  for (const uint8_t bits : {8, 13, 16, 22, 24, 31, 47, 62}) {
    const RingVector vector = RandomRing(random, bits, 203);
    std::string joined;
    for (size_t first = 0; first < 203; first += 64) {
      PackRange(vector, first, std::min<size_t>(64, 203 - first), joined);
    }
    EXPECT_EQ(joined, Pack(vector));
  }
}

TEST(Packing, SumsOfPackedVectorsAreTheSumOfTheVectors) {
  std::mt19937_64 random(4);
  for (const uint8_t bits : {8, 16, 17, 24, 32, 33, 56, 57, 62}) {
    RingVector sum(bits, 77), wanted(bits, 77);
    for (int each = 0; each < 5; ++each) {
      const RingVector other = RandomRing(random, bits, 77);
      ASSERT_TRUE(sum.AddPacked(Pack(other)).ok());
      wanted.Add(other);
    }
    EXPECT_EQ(sum, wanted);
  }
}

TEST(Packing, OtherLengthsAndPaddingAreRefused) {
  RingVector vector(13, 3);  // 39 bits, one of padding
  vector.SetSigned(2, -1);
  const std::string packed = Pack(vector);
  ASSERT_EQ(packed.size(), 5u);
  for (const std::string& bad :
       {packed + '\0', packed.substr(0, 4), std::string(), packed.substr(0, 4) + '\xff'}) {
    EXPECT_EQ(Unpack(bad, 3, 13).status().code(), absl::StatusCode::kInvalidArgument);
    RingVector sum = vector;
    EXPECT_EQ(sum.AddPacked(bad).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(sum, vector);
  }
  EXPECT_EQ(Unpack(packed, 3, 7).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Unpack(packed, 3, 63).status().code(), absl::StatusCode::kInvalidArgument);
  // A size nobody could hold is refused by the length, before memory is asked for.
  EXPECT_EQ(Unpack(packed, size_t{1} << 57, 24).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rivulet::secagg
