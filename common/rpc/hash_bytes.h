#pragma once

#include <span>
#include <string>
#include <string_view>

#include "common/io/sha256.h"

namespace rivulet {

// Hashes are 32 bytes on the wire and 64 lower-case hex digits everywhere else.
inline std::string HexOfBytes(std::string_view bytes) {
  return HexOf({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

// "" when `hex` is not 64 lower-case hex digits.
inline std::string BytesOfHex(std::string_view hex) {
  const auto digit = [](char letter) {
    if (letter >= '0' && letter <= '9') return letter - '0';
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
  };
  if (hex.size() != 64) return "";
  std::string bytes;
  for (size_t at = 0; at < hex.size(); at += 2) {
    const int high = digit(hex[at]), low = digit(hex[at + 1]);
    if (high < 0 || low < 0) return "";
    bytes += static_cast<char>(high << 4 | low);
  }
  return bytes;
}

}  // namespace rivulet
