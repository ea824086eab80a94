#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rivulet {

// The printable stand-in of every byte in byte-level vocabularies: 0x21-7E, 0xA1-AC and 0xAE-FF are
// themselves, the other 68 bytes in ascending order are U+0100, U+0101, ... (space is U+0120).
// Source: GPT-2's encoder.
char32_t CodeOfByte(unsigned char byte);
std::optional<unsigned char> ByteOfCode(char32_t c);

std::string BytesToCodes(std::string_view bytes);
// The bytes behind a token, or its own UTF-8 when one of its characters stands for no byte.
std::string CodesToBytes(std::string_view token);

// GPT-2's splitting pattern.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace rivulet
