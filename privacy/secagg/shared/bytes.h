#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace rivulet::secagg {

// Canonical bytes: fixed-width little-endian integers, LP(x) = u32(len(x)) || x.
// (docs of the protocol, section 2)
class ByteWriter {
 public:
  ByteWriter() = default;
  explicit ByteWriter(size_t capacity) { out_.reserve(capacity); }

  ByteWriter& U8(uint8_t value) { return Integer(value, 1); }
  ByteWriter& U16(uint16_t value) { return Integer(value, 2); }
  ByteWriter& U32(uint32_t value) { return Integer(value, 4); }
  ByteWriter& U64(uint64_t value) { return Integer(value, 8); }
  ByteWriter& Raw(std::string_view bytes) {
    out_.append(bytes);
    return *this;
  }
  ByteWriter& Raw(std::span<const uint8_t> bytes) {
    out_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return *this;
  }
  ByteWriter& Lp(std::string_view bytes) {
    return U32(static_cast<uint32_t>(bytes.size())).Raw(bytes);
  }
  std::string Take() { return std::move(out_); }

 private:
  ByteWriter& Integer(uint64_t value, int width) {
    for (int byte = 0; byte < width; ++byte) out_.push_back(static_cast<char>(value >> (8 * byte)));
    return *this;
  }
  std::string out_;
};

// Reads foreign bytes. The first read past the end fails the reader for good: it gives zeros from
// then on, and Done() is false.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  uint8_t U8() { return static_cast<uint8_t>(Integer(1)); }
  uint16_t U16() { return static_cast<uint16_t>(Integer(2)); }
  uint32_t U32() { return static_cast<uint32_t>(Integer(4)); }
  uint64_t U64() { return Integer(8); }
  std::string_view Raw(size_t count) {
    if (count > rest_.size()) Fail();
    if (failed_) return {};
    const std::string_view out = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return out;
  }
  std::string_view Lp() { return Raw(U32()); }
  template <size_t N>
  std::array<uint8_t, N> Array() {
    std::array<uint8_t, N> out{};
    if (const std::string_view bytes = Raw(N); bytes.size() == N)
      std::memcpy(out.data(), bytes.data(), N);
    return out;
  }

  void Fail() {
    failed_ = true;
    rest_ = {};
  }
  bool failed() const { return failed_; }
  size_t left() const { return rest_.size(); }
  bool Done() const { return !failed_ && rest_.empty(); }  // everything read, nothing left

 private:
  uint64_t Integer(int width) {
    const std::string_view bytes = Raw(width);
    uint64_t value = 0;
    for (size_t byte = 0; byte < bytes.size(); ++byte)
      value |= uint64_t{static_cast<uint8_t>(bytes[byte])} << (8 * byte);
    return value;
  }
  std::string_view rest_;
  bool failed_ = false;
};

inline std::string_view ViewOf(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace rivulet::secagg
