#include "privacy/secagg/shared/ring.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "privacy/secagg/shared/packed_bits.h"
#include "privacy/secagg/shared/packing.h"

namespace rivulet::secagg {
namespace {

[[noreturn]] void AbortRing(const char* what) {
  std::fprintf(stderr, "rivulet: ring vector: %s\n", what);
  std::abort();
}

RingVector::Words WordsOf(uint8_t bits, size_t size) {
  if (bits < kMinBits || bits > kMaxBits) AbortRing("width outside 8..62");
  switch (WordBytes(bits)) {
    case 2:
      return std::vector<uint16_t>(size);
    case 4:
      return std::vector<uint32_t>(size);
    default:
      return std::vector<uint64_t>(size);
  }
}

constexpr uint64_t LowBits(uint8_t bits) { return (uint64_t{1} << bits) - 1; }

// word(mine, theirs) for every pair of words.
template <typename PerWord>
void ForEachPair(RingVector& mine, const RingVector& theirs, PerWord&& word) {
  if (mine.bits() != theirs.bits() || mine.size() != theirs.size()) AbortRing("unequal shapes");
  std::visit(
      [&](auto& words) {
        using Vector = std::remove_cvref_t<decltype(words)>;
        const Vector& others = std::get<Vector>(theirs.words());
        for (size_t index = 0; index < words.size(); ++index) word(words[index], others[index]);
      },
      mine.words());
}

}  // namespace

RingVector::RingVector(uint8_t bits, size_t size) : bits_(bits), words_(WordsOf(bits, size)) {}

size_t RingVector::size() const {
  return std::visit([](const auto& words) { return words.size(); }, words_);
}

uint64_t RingVector::At(size_t index) const {
  return std::visit([&](const auto& words) { return uint64_t{words[index]} & LowBits(bits_); },
                    words_);
}

int64_t RingVector::SignedAt(size_t index) const {
  const int unused = 64 - bits_;
  return static_cast<int64_t>(At(index) << unused) >> unused;
}

void RingVector::Set(size_t index, uint64_t value) {
  std::visit(
      [&](auto& words) {
        using Word = typename std::remove_cvref_t<decltype(words)>::value_type;
        words[index] = static_cast<Word>(value & LowBits(bits_));
      },
      words_);
}

void RingVector::Resize(size_t size) {
  std::visit([&](auto& words) { words.resize(size); }, words_);
}

void RingVector::Reduce() {
  std::visit(
      [&](auto& words) {
        using Word = typename std::remove_cvref_t<decltype(words)>::value_type;
        const Word low = static_cast<Word>(LowBits(bits_));
        for (Word& word : words) word &= low;
      },
      words_);
}

void RingVector::Add(const RingVector& other) {
  ForEachPair(*this, other, [](auto& mine, auto theirs) {
    mine = static_cast<std::remove_cvref_t<decltype(mine)>>(mine + theirs);
  });
}

void RingVector::Subtract(const RingVector& other) {
  ForEachPair(*this, other, [](auto& mine, auto theirs) {
    mine = static_cast<std::remove_cvref_t<decltype(mine)>>(mine - theirs);
  });
}

absl::Status RingVector::AddPacked(std::string_view packed) {
  RV_RETURN_IF_ERROR(CheckPacked(packed, size(), bits_));
  std::visit([&](auto& words) { AddPackedBits(packed, bits_, words.data(), words.size()); },
             words_);
  return absl::OkStatus();
}

std::span<uint8_t> RingVector::raw() {
  return std::visit(
      [](auto& words) {
        return std::span(reinterpret_cast<uint8_t*>(words.data()), words.size() * sizeof(words[0]));
      },
      words_);
}

std::span<const uint8_t> RingVector::raw() const {
  return std::visit(
      [](const auto& words) {
        return std::span(reinterpret_cast<const uint8_t*>(words.data()),
                         words.size() * sizeof(words[0]));
      },
      words_);
}

bool operator==(const RingVector& a, const RingVector& b) {
  if (a.bits_ != b.bits_ || a.size() != b.size()) return false;
  for (size_t index = 0; index < a.size(); ++index) {
    if (a.At(index) != b.At(index)) return false;
  }
  return true;
}

}  // namespace rivulet::secagg
