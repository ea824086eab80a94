#include "privacy/crypto/serials.h"

#include <algorithm>
#include <cctype>

#include "common/utf8.h"

namespace rivulet {
namespace {

constexpr size_t kMostDigits = 40;  // 20 bytes: RFC 5280, section 4.1.2.2
constexpr size_t kShown = 80;

// One line as Identity::serial is written: lower-case hex, two digits a byte; "" for none.
std::string SerialIn(std::string_view line) {
  std::string serial;
  for (const char letter : line.substr(0, line.find('#'))) {
    const auto byte = static_cast<unsigned char>(letter);
    if (letter != ':' && std::isspace(byte) == 0) serial += static_cast<char>(std::tolower(byte));
  }
  return serial.size() % 2 == 0 ? serial : "0" + serial;
}

}  // namespace

absl::StatusOr<std::set<std::string>> ParseSerials(std::string_view text) {
  std::set<std::string> serials;
  for (size_t row = 1; !text.empty(); ++row) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::string serial = SerialIn(line);
    if (serial.empty()) continue;
    const bool hex = std::all_of(serial.begin(), serial.end(),
                                 [](unsigned char c) { return std::isxdigit(c) != 0; });
    if (!hex || serial.size() > kMostDigits) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "line " + std::to_string(row) + ": got '" + Tidy(line, kShown) +
                        "', want the serial of a certificate, 1 to 40 hex digits");
    }
    serials.insert(serial);
  }
  return serials;
}

}  // namespace rivulet
