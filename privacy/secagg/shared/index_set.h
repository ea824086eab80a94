#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace rivulet::secagg {

// A set of roster indices, kept as its bitmap: bit i of byte floor(i/8), least significant first.
class IndexBits {
 public:
  IndexBits() = default;
  explicit IndexBits(uint32_t n) : n_(n), bytes_(BytesOf(n), '\0') {}

  // Bytes of a bitmap of n bits, for any n: n + 7 would wrap.
  static constexpr uint32_t BytesOf(uint32_t n) { return n / 8 + (n % 8 != 0 ? 1 : 0); }

  uint32_t n() const { return n_; }
  const std::string& bytes() const { return bytes_; }
  bool Contains(uint32_t index) const {
    return index < n_ && ((static_cast<uint8_t>(bytes_[index / 8]) >> (index % 8)) & 1) != 0;
  }
  void Insert(uint32_t index) {  // index < n
    bytes_[index / 8] = static_cast<char>(bytes_[index / 8] | (1 << (index % 8)));
  }
  uint32_t Count() const;
  std::vector<uint32_t> Indices() const;  // ascending
  // Takes a bitmap of n bits. InvalidArgument: another length, a bit behind the last.
  absl::Status Assign(uint32_t n, std::string_view bytes);
  bool operator==(const IndexBits&) const = default;

 private:
  uint32_t n_ = 0;
  std::string bytes_;
};

// The sets of the protocol are of different types, so that none is taken for another.
template <int Stage>
class StageSet : public IndexBits {
 public:
  using IndexBits::IndexBits;
};
using U2Set = StageSet<2>;      // whose shares arrived
using U3Set = StageSet<3>;      // whose masked vector arrived: the survivors
using FailedSet = StageSet<4>;  // whose ciphertext did not open

}  // namespace rivulet::secagg
