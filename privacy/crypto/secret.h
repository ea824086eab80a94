#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace rivulet {

using Bytes32 = std::array<uint8_t, 32>;

// 32 bytes that nobody else may learn: a private key, a seed, a channel key. Wiped when it dies and
// when it is overwritten or moved from. Cannot be printed; compared in constant time.
class Secret32 {
 public:
  Secret32() = default;  // all zero
  explicit Secret32(const Bytes32& bytes) : bytes_(bytes) {}
  explicit Secret32(std::span<const uint8_t, 32> bytes);
  ~Secret32();
  Secret32(const Secret32&) = default;
  Secret32& operator=(const Secret32&) = default;
  Secret32(Secret32&& other) noexcept;
  Secret32& operator=(Secret32&& other) noexcept;

  std::span<const uint8_t, 32> bytes() const { return bytes_; }
  std::span<uint8_t, 32> mutable_bytes() { return bytes_; }

  friend bool operator==(const Secret32& a, const Secret32& b);

 private:
  Bytes32 bytes_{};
};

}  // namespace rivulet
