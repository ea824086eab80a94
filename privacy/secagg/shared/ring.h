#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "common/status.h"

namespace rivulet::secagg {

inline constexpr uint8_t kMinBits = 8;
inline constexpr uint8_t kMaxBits = 62;

// Bytes of a keystream word, and of a word in memory: 2 up to 16 bits, 4 up to 32, 8 above.
constexpr size_t WordBytes(uint8_t bits) { return bits <= 16 ? 2 : bits <= 32 ? 4 : 8; }

// Vector over the integers modulo 2^bits, in words of WordBytes(bits). Because 2^bits divides
// 2^(8 WordBytes) the words run modulo 2^(8 WordBytes), and the bits above the ring mean nothing
// until Reduce() clears them; every reader below looks at the low `bits` only. Not thread safe.
class RingVector {
 public:
  RingVector() = default;  // 8 bits, no element
  // All zero. `bits` within kMinBits..kMaxBits: anything else ends the process.
  RingVector(uint8_t bits, size_t size);

  uint8_t bits() const { return bits_; }
  size_t size() const;
  size_t word_bytes() const { return WordBytes(bits_); }

  uint64_t At(size_t index) const;         // 0 .. 2^bits - 1
  int64_t SignedAt(size_t index) const;    // two's complement: -2^(bits-1) .. 2^(bits-1) - 1
  void Set(size_t index, uint64_t value);  // modulo 2^bits
  void SetSigned(size_t index, int64_t value) { Set(index, static_cast<uint64_t>(value)); }
  void Resize(size_t size);  // new elements are zero

  // Clears the bits above the ring.
  void Reduce();

  // this += other, this -= other. Same width and size: anything else ends the process.
  void Add(const RingVector& other);
  void Subtract(const RingVector& other);

  // this += the vector packed in `packed` (packing.h) without unpacking it elsewhere first.
  // Errors: InvalidArgument (wrong length, padding bits not zero); the vector is then untouched.
  absl::Status AddPacked(std::string_view packed);

  // The words as they lie in memory, little endian: size() * word_bytes().
  std::span<uint8_t> raw();
  std::span<const uint8_t> raw() const;

  // For loops over a known word size.
  using Words = std::variant<std::vector<uint16_t>, std::vector<uint32_t>, std::vector<uint64_t>>;
  Words& words() { return words_; }
  const Words& words() const { return words_; }

  // Same width, same size, equal modulo 2^bits.
  friend bool operator==(const RingVector& a, const RingVector& b);

 private:
  uint8_t bits_ = kMinBits;
  Words words_;
};

}  // namespace rivulet::secagg
