#include "privacy/secagg/shared/mask_generator.h"

#include <gtest/gtest.h>

#include "common/io/sha256.h"
#include "privacy/crypto/cipher.h"
#include "privacy/crypto/hkdf.h"
#include "privacy/secagg/shared/mask_kernel.h"
#include "privacy/secagg/shared/packing.h"
#include "tests/unit/in_child.h"
#include "tests/unit/privacy/chi_square.h"
#include "tests/unit/privacy/kat.h"
#include "tests/unit/privacy/secagg/ring_vectors.h"
#include "tests/unit/privacy/seeded_entropy.h"

namespace rivulet::secagg {
namespace {

constexpr uint8_t kOneOfEachWord[] = {8, 16, 17, 24, 32, 33, 62};

std::vector<Mask> SomeMasks(uint8_t seed, size_t count) {
  SeededEntropy entropy(seed);
  std::vector<Mask> masks;
  for (size_t each = 0; each < count; ++each) {
    masks.push_back({.seed = entropy.Secret(), .subtract = each % 3 == 1});
  }
  return masks;
}

// Element by element, from MaskElement.
RingVector MaskedByDefinition(RingVector vector, std::span<const Mask> masks, uint64_t first) {
  for (size_t index = 0; index < vector.size(); ++index) {
    for (const Mask& mask : masks) {
      const uint64_t element = MaskElement(mask.seed, first + index, vector.bits());
      vector.Set(index, vector.At(index) + (mask.subtract ? -element : element));
    }
  }
  return vector;
}

std::string KeystreamHex(const Secret32& seed, uint64_t chunk, uint64_t block, size_t size) {
  Aes256Ctr stream(seed, MaskIv(chunk, block));
  std::vector<uint8_t> bytes(size);
  stream.Keystream(bytes);
  return HexOf(bytes);
}

TEST(MaskKeystream, MatchesTheKnownAnswers) {
  const Secret32 seed = SecretFromHex(SecaggKat()["key_schedule"]["pair_seed_01"]);
  const auto& kat = SecaggKat()["key_schedule"]["mask_keystream"];
  EXPECT_EQ(KeystreamHex(seed, 0, 0, 32), kat["chunk_0_first_32"].get<std::string>());
  EXPECT_EQ(KeystreamHex(seed, 1, 0, 32), kat["chunk_1_first_32"].get<std::string>());
  EXPECT_EQ(KeystreamHex(seed, 8589934592, 0, 32),
            kat["chunk_8589934592_first_32"].get<std::string>());
  EXPECT_EQ(KeystreamHex(seed, 0, 65535, 16), kat["chunk_0_block_65535_16"].get<std::string>());
}

TEST(MaskElement, MatchesTheKnownAnswers) {
  const auto& kat = SecaggKat()["key_schedule"];
  const Secret32 seed = SecretFromHex(kat["pair_seed_01"]);
  for (const uint8_t bits : {12, 16, 20, 22, 24, 28, 32, 40}) {
    const auto& wanted = kat["mask_elements_first_6"]["b" + std::to_string(bits)];
    ASSERT_EQ(wanted.size(), 6u);
    for (size_t j = 0; j < 6; ++j) EXPECT_EQ(MaskElement(seed, j, bits), wanted[j]) << int{bits};
  }
  const auto& border = kat["mask_elements_b24_index_1048574_to_1048579"];
  for (size_t j = 0; j < 6; ++j) EXPECT_EQ(MaskElement(seed, 1048574 + j, 24), border[j]);
}

class EveryMaskKernel : public testing::TestWithParam<MaskKernel> {
 protected:
  void SetUp() override {
    if (!IsSupported(GetParam())) GTEST_SKIP() << "not on this processor";
  }
};
INSTANTIATE_TEST_SUITE_P(All, EveryMaskKernel, testing::ValuesIn(kMaskKernels),
                         [](const auto& each) { return std::string(NameOf(each.param)); });

TEST_P(EveryMaskKernel, EqualsTheDefinition) {
  std::mt19937_64 random(5);
  for (const uint8_t bits : kOneOfEachWord) {
    const RingVector plain = RandomRing(random, bits, 301);
    for (const size_t count : {0, 1, 5}) {
      const std::vector<Mask> masks = SomeMasks(bits, count);
      RingVector masked = plain;
      ApplyMasksWith(GetParam(), masked, masks, 1, 0);
      ASSERT_EQ(masked, MaskedByDefinition(plain, masks, 0)) << int{bits} << " " << count;
    }
  }
}

// Lengths around tiles and cipher blocks, slices that begin anywhere and cross a chunk border, more
// keys than are held together.
TEST_P(EveryMaskKernel, EqualsOpenSslAtEveryLengthAndBorder) {
  std::mt19937_64 random(6);
  for (const uint8_t bits : kOneOfEachWord) {
    for (int repeat = 0; repeat < 60; ++repeat) {
      const size_t size = random() % 3000;
      uint64_t first = random() % 4096 * 8;
      if (repeat % 2 == 0) first += (1 + random() % 3) * kChunkElements - size / 16 * 8;
      const std::vector<Mask> masks = SomeMasks(1, repeat % 10 == 0 ? 150 : random() % 9);
      RingVector wanted = RandomRing(random, bits, size), got = wanted;
      ApplyMasksWith(MaskKernel::kPortable, wanted, masks, 1, first);
      ApplyMasksWith(GetParam(), got, masks, 1, first);
      ASSERT_EQ(got, wanted) << int{bits} << " " << size << " " << first;
    }
  }
}

TEST_P(EveryMaskKernel, CrossesAChunkBorderAsTheKnownAnswersDo) {
  const auto& kat = SecaggKat()["key_schedule"];
  const Mask mask{.seed = SecretFromHex(kat["pair_seed_01"])};
  RingVector vector(24, kChunkElements + 16);
  ApplyMasksWith(GetParam(), vector, {&mask, 1}, 1, 0);
  const auto& border = kat["mask_elements_b24_index_1048574_to_1048579"];
  for (size_t j = 0; j < 6; ++j) EXPECT_EQ(vector.At(1048574 + j), border[j]);
}

// 2^33 chunks: no counter of 32 bits would do.
TEST_P(EveryMaskKernel, ReachesFarChunks) {
  const Mask mask{.seed = SecretFromHex(SecaggKat()["key_schedule"]["pair_seed_01"])};
  RingVector vector(32, 8);
  ApplyMasksWith(GetParam(), vector, {&mask, 1}, 1, 8589934592 * kChunkElements);
  EXPECT_EQ(HexOf(vector.raw()),
            SecaggKat()["key_schedule"]["mask_keystream"]["chunk_8589934592_first_32"]
                .get<std::string>());
}

TEST_P(EveryMaskKernel, ThreadsAndSlicesChangeNothing) {
  std::mt19937_64 random(7);
  for (const uint8_t bits : {16, 24, 40}) {
    const size_t size = 3 * 65536 + 41;
    const RingVector plain = RandomRing(random, bits, size);
    const std::vector<Mask> masks = SomeMasks(2, 3);
    RingVector whole = plain;
    ApplyMasksWith(GetParam(), whole, masks, 1, kChunkElements - 65536);
    for (const unsigned threads : {2u, 3u, 64u}) {
      RingVector split = plain;
      ApplyMasksWith(GetParam(), split, masks, threads, kChunkElements - 65536);
      ASSERT_EQ(split, whole) << threads;
    }
    for (size_t first = 0; first < size; first += 10000) {
      const size_t count = std::min<size_t>(10000, size - first);
      RingVector slice(bits, count);
      for (size_t at = 0; at < count; ++at) slice.Set(at, plain.At(first + at));
      ApplyMasksWith(GetParam(), slice, masks, 1, kChunkElements - 65536 + first);
      for (size_t at = 0; at < count; ++at) ASSERT_EQ(slice.At(at), whole.At(first + at));
    }
  }
}

TEST_P(EveryMaskKernel, WhatIsAddedIsTakenAwayAgain) {
  std::mt19937_64 random(8);
  for (const uint8_t bits : kOneOfEachWord) {
    const RingVector plain = RandomRing(random, bits, 5000);
    std::vector<Mask> masks = SomeMasks(3, 70);
    RingVector vector = plain;
    ApplyMasksWith(GetParam(), vector, masks, 1, 0);
    EXPECT_FALSE(vector == plain);
    for (Mask& mask : masks) mask.subtract = !mask.subtract;
    ApplyMasksWith(GetParam(), vector, masks, 1, 0);
    EXPECT_EQ(vector, plain);
  }
}

// Low, middle and high bits of the elements, all widths of word; |z| > 6: 2e-9.
TEST_P(EveryMaskKernel, ElementsAreUniform) {
  for (const uint8_t bits : {8, 16, 22, 32, 62}) {
    const Mask mask = SomeMasks(bits, 1)[0];
    RingVector vector(bits, 1 << 18);
    ApplyMasksWith(GetParam(), vector, {&mask, 1}, 1, 0);
    for (const int shift : {0, (bits - 8) / 2, bits - 8}) {
      std::vector<uint64_t> counts(256);
      for (size_t at = 0; at < vector.size(); ++at) ++counts[vector.At(at) >> shift & 255];
      EXPECT_LT(std::abs(UniformityZ(counts)), 6) << int{bits} << " " << shift;
    }
  }
}

TEST(ApplyMasks, ASliceInsideACipherBlockEndsTheProcess) {
  EXPECT_EQ(InChild([] {
              RingVector vector(16, 8);
              ApplyMasks(vector, SomeMasks(1, 1), 1, 4);
              return 0;
            }),
            128 + SIGABRT);
}

RingVector RingOf(const nlohmann::json& values, uint8_t bits) {
  RingVector vector(bits, values.size());
  for (size_t index = 0; index < values.size(); ++index) {
    vector.SetSigned(index, values[index].get<int64_t>());
  }
  return vector;
}

// Masks of client u of the transcript: its own, and those with every other one.
std::vector<Mask> MasksOf(const nlohmann::json& kat, int u) {
  std::vector<Mask> masks = {{.seed = SecretFromHex(kat["self_seeds"][u])}};
  for (int v = 0; v < 4; ++v) {
    if (v == u) continue;
    const std::string pair = std::to_string(std::min(u, v)) + "-" + std::to_string(std::max(u, v));
    masks.push_back({.seed = SecretFromHex(kat["pair_seeds"][pair]), .subtract = v < u});
  }
  return masks;
}

TEST(Transcript, MaskedVectorsAndTheirSumAreTheKnownOnes) {
  const auto& kat = SecaggKat()["transcript"];
  RingVector sum(24, 13);
  for (int u = 0; u < 4; ++u) {
    RingVector vector = RingOf(kat["ring_inputs"][u], 24);
    ApplyMasks(vector, MasksOf(kat, u));
    EXPECT_EQ(vector, RingOf(kat["masked"][u], 24));
    EXPECT_EQ(HexOf(BytesOf(Pack(vector))), kat["masked_packed"][u].get<std::string>());
    if (u == 2) continue;
    ASSERT_TRUE(sum.AddPacked(Pack(vector)).ok());
  }
  // Client 2 sent its shares and no vector: its pair masks are taken away, and all self masks.
  std::vector<Mask> left;
  for (const int u : {0, 1, 3}) {
    left.push_back({.seed = SecretFromHex(kat["self_seeds"][u]), .subtract = true});
    const std::string pair = u < 2 ? std::to_string(u) + "-2" : "2-3";
    left.push_back({.seed = SecretFromHex(kat["pair_seeds"][pair]), .subtract = u < 2});
  }
  ApplyMasks(sum, left);
  EXPECT_EQ(sum, RingOf(kat["sum_ring_all"], 24));
  EXPECT_EQ(Sha256Hex(Pack(sum)), kat["sum_sha256_packed"].get<std::string>());
  for (size_t at = 0; at < 9; ++at) {
    EXPECT_EQ(sum.SignedAt(at), kat["sum_signed_data_and_weight"][at]);
  }
}

TEST(MaskInnerProduct, GivesTheKnownChecksums) {
  const auto& kat = SecaggKat()["transcript"];
  const std::string sid = FromHex(kat["sid"]), sid0 = FromHex(kat["sid0"]);
  for (uint32_t row = 0; row < 4; ++row) {
    const Secret32 seed = HkdfSha256(BytesOf(sid), BytesOf(sid0), Lp("rvl1/checksum") + U32(row));
    for (size_t j = 0; j < 9; ++j) {
      EXPECT_EQ(MaskElement(seed, j, 24), kat["checksum_coefficients"][row][j]);
    }
    for (int u = 0; u < 4; ++u) {
      const RingVector input = RingOf(kat["ring_inputs"][u], 24);
      EXPECT_EQ(MaskInnerProduct(seed, input, 9), input.At(9 + row));
    }
  }
}

TEST(MaskInnerProduct, EqualsTheDefinitionAcrossAChunkBorder) {
  std::mt19937_64 random(9);
  const Secret32 seed = SeededEntropy(4).Secret();
  for (const uint8_t bits : {14, 24, 62}) {
    const size_t size = kChunkElements + 5003;
    const RingVector vector = RandomRing(random, bits, size);
    const Mask mask{.seed = seed};
    RingVector row(bits, size);
    ApplyMasks(row, {&mask, 1});
    for (const size_t count : {size_t{0}, size_t{1}, size_t{8191}, size}) {
      uint64_t wanted = 0;
      for (size_t at = 0; at < count; ++at) wanted += row.At(at) * vector.At(at);
      EXPECT_EQ(MaskInnerProduct(seed, vector, count), wanted & ((uint64_t{1} << bits) - 1));
    }
  }
}

}  // namespace
}  // namespace rivulet::secagg
