#include "aggregation/codec/bits.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

namespace rivulet {
namespace {

using Word128 = unsigned __int128;

// Eight codes of kBits bits are kBits bytes, which one word holds.
template <uint32_t kBits>
using WordFor = std::conditional_t<(kBits <= 8), uint64_t, Word128>;

template <uint32_t kBits>
WordFor<kBits> Joined(const uint16_t* codes, size_t count) {
  WordFor<kBits> word = 0;
  for (size_t code = 0; code < count; ++code) {
    word |= WordFor<kBits>{codes[code]} << (code * kBits);
  }
  return word;
}

template <uint32_t kBits>
void Split(WordFor<kBits> word, uint16_t* codes, size_t count) {
  for (size_t code = 0; code < count; ++code) {
    codes[code] = static_cast<uint16_t>(word >> (code * kBits)) & ((1u << kBits) - 1);
  }
}

template <uint32_t kBits>
void PackAll(std::span<const uint16_t> codes, uint8_t* packed) {
  constexpr size_t kWord = sizeof(WordFor<kBits>);
  const uint8_t* const end = packed + PackedBytes(codes.size(), kBits);
  size_t at = 0;
  // A whole word while there is room for it: what is behind the eight codes is written again.
  for (; at + 8 <= codes.size() && static_cast<size_t>(end - packed) >= kWord; at += 8) {
    const WordFor<kBits> word = Joined<kBits>(&codes[at], 8);
    std::memcpy(packed, &word, kWord);
    packed += kBits;
  }
  for (; at < codes.size(); at += 8, packed += kBits) {
    const size_t count = std::min<size_t>(8, codes.size() - at);
    const WordFor<kBits> word = Joined<kBits>(&codes[at], count);
    std::memcpy(packed, &word, PackedBytes(count, kBits));
  }
}

template <uint32_t kBits>
bool UnpackAll(const uint8_t* packed, std::span<uint16_t> codes) {
  constexpr size_t kWord = sizeof(WordFor<kBits>);
  const uint8_t* const end = packed + PackedBytes(codes.size(), kBits);
  size_t at = 0;
  for (; at + 8 <= codes.size() && static_cast<size_t>(end - packed) >= kWord; at += 8) {
    WordFor<kBits> word;
    std::memcpy(&word, packed, kWord);
    Split<kBits>(word, &codes[at], 8);
    packed += kBits;
  }
  for (; at < codes.size(); at += 8, packed += kBits) {
    const size_t count = std::min<size_t>(8, codes.size() - at);
    WordFor<kBits> word = 0;
    std::memcpy(&word, packed, PackedBytes(count, kBits));
    Split<kBits>(word, &codes[at], count);
    if (count < 8 && (word >> (count * kBits)) != 0) return false;
  }
  return true;
}

// One row for each number of bits, 1 .. 16.
using Packer = void (*)(std::span<const uint16_t>, uint8_t*);
using Unpacker = bool (*)(const uint8_t*, std::span<uint16_t>);
template <size_t... kLess>
constexpr std::array<Packer, 16> PackersOf(std::index_sequence<kLess...>) {
  return {PackAll<kLess + 1>...};
}
template <size_t... kLess>
constexpr std::array<Unpacker, 16> UnpackersOf(std::index_sequence<kLess...>) {
  return {UnpackAll<kLess + 1>...};
}
constexpr auto kPackers = PackersOf(std::make_index_sequence<16>());
constexpr auto kUnpackers = UnpackersOf(std::make_index_sequence<16>());

class BitWriter {
 public:
  explicit BitWriter(std::string& out) : out_(out) {}
  // `count` <= 32 low bits of `bits`, the others zero.
  void Put(uint64_t bits, uint32_t count) {
    word_ |= bits << filled_;
    filled_ += count;
    if (filled_ < 32) return;
    const auto low = static_cast<uint32_t>(word_);
    out_.append(reinterpret_cast<const char*>(&low), sizeof(low));
    word_ >>= 32;
    filled_ -= 32;
  }
  void Finish() { out_.append(reinterpret_cast<const char*>(&word_), (filled_ + 7) / 8); }

 private:
  std::string& out_;
  uint64_t word_ = 0;
  uint32_t filled_ = 0;
};

// A bit string, zeros behind its end.
class BitReader {
 public:
  explicit BitReader(std::string_view bytes) : bytes_(bytes) {}
  static constexpr uint32_t kWindow = 57;  // bits of Peek that are always good
  uint64_t Peek() const {
    const uint64_t byte = position_ / 8;
    uint64_t word = 0;
    if (byte + 8 <= bytes_.size()) {
      std::memcpy(&word, bytes_.data() + byte, 8);
    } else if (byte < bytes_.size()) {
      std::memcpy(&word, bytes_.data() + byte, bytes_.size() - byte);
    }
    return word >> (position_ % 8);
  }
  void Skip(uint64_t bits) { position_ += bits; }
  bool past_end() const { return position_ > 8 * uint64_t{bytes_.size()}; }
  bool at_last_byte() const { return (position_ + 7) / 8 == bytes_.size(); }

 private:
  std::string_view bytes_;
  uint64_t position_ = 0;
};

absl::Status BadRice(std::string_view what) {
  return Refuse(absl::StatusCode::kInvalidArgument, "positions: " + std::string(what));
}

// One gap. At the end of the string the unary part has no one: past_end() becomes true.
uint64_t TakeGap(BitReader& reader, uint32_t parameter) {
  uint64_t zeros = 0;
  uint64_t window = reader.Peek();
  while ((window & ((uint64_t{1} << BitReader::kWindow) - 1)) == 0) {
    zeros += BitReader::kWindow;
    reader.Skip(BitReader::kWindow);
    if (reader.past_end()) return zeros;
    window = reader.Peek();
  }
  const auto run = static_cast<uint32_t>(std::countr_zero(window));
  zeros += run;
  if (run + 1 + parameter <= BitReader::kWindow) {
    window >>= run + 1;
    reader.Skip(run + 1 + parameter);
  } else {
    reader.Skip(run + 1);
    window = reader.Peek();
    reader.Skip(parameter);
  }
  return zeros << parameter | (window & ((uint64_t{1} << parameter) - 1));
}

}  // namespace

void PackCodes(std::span<const uint16_t> codes, uint32_t bits, uint8_t* packed) {
  kPackers[bits - 1](codes, packed);
}

bool UnpackCodes(const uint8_t* packed, uint32_t bits, std::span<uint16_t> codes) {
  return kUnpackers[bits - 1](packed, codes);
}

uint32_t RiceParameter(size_t d, size_t k) {
  if (k == 0) return 0;
  const double mean = std::log(2.0) * static_cast<double>(d) / static_cast<double>(k);
  return static_cast<uint32_t>(std::max(0.0, std::ceil(std::log2(mean))));
}

uint64_t MaxRiceBytes(size_t d, size_t k) {
  const uint32_t parameter = RiceParameter(d, k);
  return (uint64_t{k} * (parameter + 1) + ((d - k) >> parameter) + 7) / 8;
}

void AppendRice(std::span<const uint32_t> indices, uint32_t parameter, std::string& out) {
  BitWriter writer(out);
  uint64_t next = 0;
  for (const uint32_t index : indices) {
    const uint64_t gap = index - next;
    uint64_t zeros = gap >> parameter;
    for (; zeros >= 31; zeros -= 31) writer.Put(0, 31);
    writer.Put(uint64_t{1} << zeros, static_cast<uint32_t>(zeros) + 1);
    writer.Put(gap & ((uint64_t{1} << parameter) - 1), parameter);
    next = uint64_t{index} + 1;
  }
  writer.Finish();
}

absl::StatusOr<std::vector<uint32_t>> DecodeRice(std::string_view bytes, uint32_t parameter,
                                                 size_t d, size_t k) {
  BitReader reader(bytes);
  std::vector<uint32_t> indices(k);
  uint64_t next = 0;
  for (uint32_t& index : indices) {
    next += TakeGap(reader, parameter);
    if (reader.past_end()) return BadRice("the bits end early");
    if (next >= d) {
      return BadRice("got index " + std::to_string(next) + ", want one below " + std::to_string(d));
    }
    index = static_cast<uint32_t>(next++);
  }
  if (!reader.at_last_byte()) return BadRice("bytes are left over");
  if (reader.Peek() != 0) return BadRice("a filling bit is set");
  return indices;
}

}  // namespace rivulet
