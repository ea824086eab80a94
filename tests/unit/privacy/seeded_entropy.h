#pragma once

#include "privacy/crypto/cipher.h"
#include "privacy/crypto/entropy.h"

namespace rivulet {

// The AES-256-CTR keystream of a seed: a run that can be repeated. For tests alone.
class SeededEntropy final : public Entropy {
 public:
  explicit SeededEntropy(const Secret32& seed) : stream_(seed, kZeroIv) {}
  // A seed of one number.
  explicit SeededEntropy(uint8_t number) : SeededEntropy(Secret32(Bytes32{number})) {}
  void Fill(std::span<uint8_t> out) override { stream_.Keystream(out); }

 private:
  static constexpr std::array<uint8_t, 16> kZeroIv{};
  Aes256Ctr stream_;
};

}  // namespace rivulet
