#include "privacy/secagg/shared/packed_bits.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "privacy/secagg/shared/packing.h"

// Eight elements of b bits are b whole bytes: groups share no byte, and inside one all shifts are
// known when the code for its width is compiled.
namespace rivulet::secagg {
namespace {

static_assert(std::endian::native == std::endian::little, "words are stored as they are packed");

constexpr size_t kGroup = 8;    // elements
constexpr size_t kSlack = 8;    // bytes after a group that its loads and stores may touch
constexpr size_t kPadded = 80;  // a group of 62 bits and the slack

// Elements of one group from `bytes`; reads up to kSlack bytes beyond it.
template <int kBits, typename Word>
void AddGroup(const char* bytes, Word* words) {
  constexpr uint64_t kLow = (uint64_t{1} << kBits) - 1;
#pragma GCC unroll 8
  for (size_t element = 0; element < kGroup; ++element) {
    const size_t bit = element * kBits, shift = bit % 8;
    uint64_t window;
    std::memcpy(&window, bytes + bit / 8, 8);
    window >>= shift;
    if (shift + kBits > 64) {
      window |= uint64_t{static_cast<uint8_t>(bytes[bit / 8 + 8])} << (64 - shift);
    }
    words[element] = static_cast<Word>(words[element] + (window & kLow));
  }
}

// Writes zeros to up to kSlack bytes after the group.
template <int kBits, typename Word>
void WriteGroup(const Word* words, char* out) {
  constexpr uint64_t kLow = (uint64_t{1} << kBits) - 1;
  uint64_t window = 0;
  int waiting = 0;
#pragma GCC unroll 8
  for (size_t element = 0; element < kGroup; ++element) {
    const uint64_t value = words[element] & kLow;
    window |= value << waiting;
    waiting += kBits;
    if (waiting < 64) continue;
    std::memcpy(out, &window, 8);
    out += 8;
    waiting -= 64;
    window = waiting == 0 ? 0 : value >> (kBits - waiting);
  }
  std::memcpy(out, &window, 8);
}

// Groups whose slack lies inside the buffer.
size_t DirectGroups(size_t bytes, size_t bits, size_t count) {
  return bytes < kSlack ? 0 : std::min(count / kGroup, (bytes - kSlack) / bits);
}

template <int kBits, typename Word>
void AddAll(std::string_view packed, Word* words, size_t count) {
  if constexpr (kBits == 8 * sizeof(Word)) {
    for (size_t index = 0; index < count; ++index) {
      Word element;
      std::memcpy(&element, packed.data() + index * sizeof(Word), sizeof(Word));
      words[index] = static_cast<Word>(words[index] + element);
    }
    return;
  }
  size_t group = 0;
  for (const size_t direct = DirectGroups(packed.size(), kBits, count); group < direct; ++group) {
    AddGroup<kBits>(packed.data() + group * kBits, words + group * kGroup);
  }
  for (; group * kGroup < count; ++group) {
    const size_t some = std::min(kGroup, count - group * kGroup);
    char bytes[kPadded] = {};
    const std::string_view rest = packed.substr(group * kBits, kBits);
    std::copy(rest.begin(), rest.end(), bytes);
    Word padded[kGroup] = {};
    std::copy_n(words + group * kGroup, some, padded);
    AddGroup<kBits>(bytes, padded);
    std::copy_n(padded, some, words + group * kGroup);
  }
}

template <int kBits, typename Word>
void WriteAll(const Word* words, size_t count, char* out) {
  if constexpr (kBits == 8 * sizeof(Word)) {
    if (count != 0) std::memcpy(out, words, count * sizeof(Word));
    return;
  }
  size_t group = 0;
  const size_t size = PackedBytes(count, kBits);
  for (const size_t direct = DirectGroups(size, kBits, count); group < direct; ++group) {
    WriteGroup<kBits>(words + group * kGroup, out + group * kBits);
  }
  for (; group * kGroup < count; ++group) {
    const size_t some = std::min(kGroup, count - group * kGroup);
    Word padded[kGroup] = {};
    std::copy_n(words + group * kGroup, some, padded);
    char bytes[kPadded];
    WriteGroup<kBits>(padded, bytes);
    std::copy_n(bytes, PackedBytes(some, kBits), out + group * kBits);
  }
}

template <typename Word>
constexpr int kNarrowest = sizeof(Word) == 2 ? kMinBits : 4 * sizeof(Word) + 1;
template <typename Word>
constexpr int kWidest = sizeof(Word) == 8 ? kMaxBits : 8 * sizeof(Word);

template <typename Word, size_t... kIndex>
void AddWidth(std::string_view packed, uint8_t bits, Word* words, size_t count,
              std::index_sequence<kIndex...>) {
  using Loop = void (*)(std::string_view, Word*, size_t);
  static constexpr Loop kLoops[] = {AddAll<kNarrowest<Word> + static_cast<int>(kIndex), Word>...};
  kLoops[bits - kNarrowest<Word>](packed, words, count);
}

template <typename Word, size_t... kIndex>
void WriteWidth(const Word* words, size_t count, uint8_t bits, char* out,
                std::index_sequence<kIndex...>) {
  using Loop = void (*)(const Word*, size_t, char*);
  static constexpr Loop kLoops[] = {WriteAll<kNarrowest<Word> + static_cast<int>(kIndex), Word>...};
  kLoops[bits - kNarrowest<Word>](words, count, out);
}

template <typename Word>
using Widths = std::make_index_sequence<static_cast<size_t>(kWidest<Word> - kNarrowest<Word> + 1)>;

}  // namespace

void AddPackedBits(std::string_view packed, uint8_t bits, uint16_t* words, size_t count) {
  AddWidth(packed, bits, words, count, Widths<uint16_t>());
}
void AddPackedBits(std::string_view packed, uint8_t bits, uint32_t* words, size_t count) {
  AddWidth(packed, bits, words, count, Widths<uint32_t>());
}
void AddPackedBits(std::string_view packed, uint8_t bits, uint64_t* words, size_t count) {
  AddWidth(packed, bits, words, count, Widths<uint64_t>());
}

void WritePackedBits(const uint16_t* words, size_t count, uint8_t bits, char* out) {
  WriteWidth(words, count, bits, out, Widths<uint16_t>());
}
void WritePackedBits(const uint32_t* words, size_t count, uint8_t bits, char* out) {
  WriteWidth(words, count, bits, out, Widths<uint32_t>());
}
void WritePackedBits(const uint64_t* words, size_t count, uint8_t bits, char* out) {
  WriteWidth(words, count, bits, out, Widths<uint64_t>());
}

}  // namespace rivulet::secagg
