#include "peft/tokenizer/byte_level.h"

#include <array>

#include "peft/tokenizer/unicode.h"

namespace rivulet {
namespace {

constexpr bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> MakeCodes() {
  std::array<char32_t, 256> codes{};
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    codes[byte] = StandsForItself(byte) ? static_cast<char32_t>(byte) : next++;
  }
  return codes;
}

constexpr std::array<char32_t, 256> kCodes = MakeCodes();

}  // namespace

char32_t CodeOfByte(unsigned char byte) { return kCodes[byte]; }

std::optional<unsigned char> ByteOfCode(char32_t c) {
  if (c < 0x100) {
    if (!StandsForItself(static_cast<int>(c))) return std::nullopt;
    return static_cast<unsigned char>(c);
  }
  if (c >= 0x100 + 68) return std::nullopt;
  for (int byte = 0; byte < 256; ++byte) {
    if (kCodes[byte] == c) return static_cast<unsigned char>(byte);
  }
  return std::nullopt;
}

std::string BytesToCodes(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + 8);
  for (char byte : bytes) AppendCode(CodeOfByte(static_cast<unsigned char>(byte)), out);
  return out;
}

std::string CodesToBytes(std::string_view token) {
  std::string out;
  for (size_t position = 0; position < token.size();) {
    const auto byte = ByteOfCode(NextCode(token, position));
    if (!byte.has_value()) return std::string(token);
    out += static_cast<char>(*byte);
  }
  return out;
}

}  // namespace rivulet
