#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

// The loops behind packing.h: eight elements of b bits are b whole bytes, so a group never shares a
// byte with the next one.
namespace rivulet::secagg {

static_assert(std::endian::native == std::endian::little, "words are stored as they are packed");

// A 64-bit window at any bit of `bytes`. Reads 8 bytes, or 9 when the window is not aligned and
// kWide (widths above 56: up to 7 bits of the element lie in the ninth byte).
template <bool kWide>
inline uint64_t WindowAt(const char* bytes, size_t bit) {
  uint64_t window;
  std::memcpy(&window, bytes + bit / 8, 8);
  const size_t shift = bit % 8;
  window >>= shift;
  if (kWide && shift != 0) {
    window |= uint64_t{static_cast<uint8_t>(bytes[bit / 8 + 8])} << (64 - shift);
  }
  return window;
}

// put(words[i], element i) for `count` elements of `bits` bits. `packed` has their bytes exactly.
template <typename Word, typename Put>
void ReadPackedBits(std::string_view packed, uint8_t bits, Word* words, size_t count, Put&& put) {
  const uint64_t low = (uint64_t{1} << bits) - 1;
  // Elements whose window lies inside the buffer are read from it, the last few from a copy.
  size_t inside = 0;
  if (packed.size() >= 9) inside = std::min(count, ((packed.size() - 9) * 8) / bits + 1);
  const char* bytes = packed.data();
  if (bits == 8 * sizeof(Word)) {
    for (size_t index = 0; index < count; ++index) {
      Word element;
      std::memcpy(&element, bytes + index * sizeof(Word), sizeof(Word));
      put(words[index], uint64_t{element});
    }
    return;
  }
  if (bits <= 56) {
    for (size_t index = 0; index < inside; ++index) {
      put(words[index], WindowAt<false>(bytes, index * bits) & low);
    }
  } else {
    for (size_t index = 0; index < inside; ++index) {
      put(words[index], WindowAt<true>(bytes, index * bits) & low);
    }
  }
  if (inside == count) return;
  char tail[40] = {};  // bytes of the elements left (they begin in the last 8), and zeros
  const size_t start = inside * bits / 8;
  std::memcpy(tail, bytes + start, packed.size() - start);
  for (size_t index = inside; index < count; ++index) {
    put(words[index], WindowAt<true>(tail, index * bits - start * 8) & low);
  }
}

// The low `bits` bits of every word, to exactly their bytes at `out`, in order.
template <typename Word>
void WritePackedBits(const Word* words, size_t count, uint8_t bits, char* out) {
  if (bits == 8 * sizeof(Word)) {
    std::memcpy(out, words, count * sizeof(Word));
    return;
  }
  const uint64_t low = (uint64_t{1} << bits) - 1;
  unsigned __int128 window = 0;  // up to 63 bits waiting and an element of up to 62
  unsigned waiting = 0;
  for (size_t index = 0; index < count; ++index) {
    window |= static_cast<unsigned __int128>(words[index] & low) << waiting;
    waiting += bits;
    if (waiting < 64) continue;
    const uint64_t full = static_cast<uint64_t>(window);
    std::memcpy(out, &full, 8);
    out += 8;
    window >>= 64;
    waiting -= 64;
  }
  const uint64_t rest = static_cast<uint64_t>(window);
  std::memcpy(out, &rest, (waiting + 7) / 8);
}

}  // namespace rivulet::secagg
