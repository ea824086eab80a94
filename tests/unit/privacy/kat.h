#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "privacy/crypto/secret.h"

// The known answers of secure aggregation: tests/golden/vectors.
namespace rivulet {

inline nlohmann::json GoldenVectors(const std::string& file) {
  return nlohmann::json::parse(
      std::ifstream(std::string(RIVULET_SOURCE_DIR "/tests/golden/vectors/") + file));
}

inline const nlohmann::json& SecaggKat() {
  static const nlohmann::json document = GoldenVectors("secagg_kat.json");
  return document;
}

inline std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t at = 0; at + 1 < hex.size(); at += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(at, 2), nullptr, 16)));
  }
  return bytes;
}

inline Bytes32 Bytes32FromHex(const std::string& hex) {
  const std::string bytes = FromHex(hex);
  EXPECT_EQ(bytes.size(), 32u) << hex;
  Bytes32 out{};
  std::copy_n(bytes.begin(), std::min<size_t>(32, bytes.size()), out.begin());
  return out;
}

inline Secret32 SecretFromHex(const std::string& hex) { return Secret32(Bytes32FromHex(hex)); }

// u32 little endian, and a length before the bytes: the canonical bytes of the protocol.
inline std::string U32(uint32_t value) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(value >> shift));
  return bytes;
}
inline std::string Lp(const std::string& bytes) {
  return U32(static_cast<uint32_t>(bytes.size())) + bytes;
}

inline std::span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace rivulet
