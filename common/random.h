#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "common/philox.h"

namespace rivulet {

// What a stream is for. Wire and disk depend on these numbers: never reuse one.
// (docs/formats/randomness.md)
enum class Purpose : uint32_t {
  kDirection = 1,
  kLeftFactor = 2,
  kRightFactor = 3,
  kSeedChoice = 4,
  kInitialValues = 5,
  kPublicSubset = 6,
  kRotation = 7,
  kSketch = 8,
  kDataOrder = 9,
  kSignPairs = 10,
  kBaseTensor = 11,
  kDropout = 12,
  kCohort = 13,
  kPartition = 14,
  kSampling = 15,  // token sampling in generation
  kDropOut = 16,   // simulated clients that vanish
  kRounding = 17,  // stochastic rounding of simulated clients; real ones keep theirs secret
};

// An addressed stream of random words: the value depends on (root, purpose, index, tensor,
// position) alone, so nothing that two machines must agree on depends on what was drawn before. Not
// a cipher: no masks, keys or privacy noise.
class RandomStream {
 public:
  RandomStream(uint64_t root, Purpose purpose, uint64_t index);

  // Block `block` of tensor `tensor` (its position in the manifest): four words.
  PhiloxBlock Block(uint64_t block, uint32_t tensor) const {
    return Philox(
        {{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), tensor, lane_}}, key_);
  }

  // out[i] uniform in (-1, 1): word w of element i gives (2 (w >> 8) + 1 - 2^24) 2^-24.
  void FillUniform(uint32_t tensor, std::span<float> out) const;
  // out[i] standard normal with fully specified binary32 arithmetic (absolute error <= 5.4e-7):
  // element 4 first_block + i of the tensor.
  void FillGauss(uint32_t tensor, std::span<float> out, uint64_t first_block = 0) const;

  PhiloxKey key() const { return key_; }
  uint32_t lane() const { return lane_; }

 private:
  PhiloxKey key_;
  uint32_t lane_;
};

// Draws words one after the other from one tensor of a stream. Not thread safe.
class RandomCursor {
 public:
  explicit RandomCursor(RandomStream stream, uint32_t tensor = 0)
      : stream_(stream), tensor_(tensor) {}
  uint32_t Next();
  // Uniform in 0 .. n-1 without bias, n >= 1 (multiply-shift with rejection, Lemire 2019).
  uint32_t Bounded(uint32_t n);
  // Uniform in [0, 1): 24 bits.
  double Unit() { return (Next() >> 8) * 0x1p-24; }

 private:
  RandomStream stream_;
  uint32_t tensor_;
  uint64_t position_ = 0;
};

// Fisher-Yates from the top.
template <typename T>
void Shuffle(RandomCursor& cursor, std::span<T> items) {
  for (size_t left = items.size(); left > 1; --left) {
    std::swap(items[left - 1], items[cursor.Bounded(static_cast<uint32_t>(left))]);
  }
}
std::vector<uint32_t> Permutation(RandomCursor& cursor, uint32_t n);

// The stream root of one client in one round: first 8 bytes, little-endian, of
// SHA-256("rvl1/root" | seed u64 LE | round u64 LE | client name). Never arrival order, never a
// clock.
uint64_t RootOf(uint64_t seed, uint64_t round, std::string_view client);

}  // namespace rivulet
