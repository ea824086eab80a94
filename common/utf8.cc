#include "common/utf8.h"

#include <cstdint>

namespace rivulet {
namespace {

// Length of the valid UTF-8 sequence at `text[0]`, 0 when there is none (Unicode 15, table 3-7).
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(text[at]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  unsigned char low = 0x80, high = 0xbf;
  if (lead == 0xe0) low = 0xa0;
  if (lead == 0xed) high = 0x9f;
  if (lead == 0xf0) low = 0x90;
  if (lead == 0xf4) high = 0x8f;
  if (byte(1) < low || byte(1) > high) return 0;
  for (size_t at = 2; at < length; ++at) {
    if ((byte(at) & 0xc0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

size_t FirstInvalidUtf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = SequenceLength(text.substr(at));
    if (length == 0) break;
    at += length;
  }
  return at;
}

std::string Tidy(std::string_view text, size_t limit) {
  std::string tidy;
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    std::string_view piece = text.substr(0, length);
    const auto last = static_cast<unsigned char>(text[length == 0 ? 0 : length - 1]);
    if (length == 0) piece = "?";
    if (length == 1 && (last < 0x20 || last == 0x7f)) piece = " ";
    if (length == 2 && text[0] == '\xc2' && last < 0xa0) piece = " ";
    if (tidy.size() + piece.size() > limit) break;
    tidy += piece;
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return tidy;
}

bool IsUtf8(std::string_view text) { return FirstInvalidUtf8(text) == text.size(); }

}  // namespace rivulet
