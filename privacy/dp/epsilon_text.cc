#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "privacy/dp/accountant.h"

namespace rivulet {

std::string FormatEpsilon(double value, int digits) {
  if (std::isnan(value) || digits < 0 || digits > 15) std::abort();
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  // A double has at most 1074 digits after the point, so this is its exact value.
  std::string text(1500, '\0');
  const int size = std::snprintf(text.data(), text.size(), "%.1080f", value);
  text.resize(static_cast<size_t>(size));
  const size_t kept = text.find('.') + 1 + static_cast<size_t>(digits);
  const bool more = text.find_first_not_of('0', kept) != std::string::npos;
  text.resize(digits == 0 ? kept - 1 : kept);
  if (!more || value < 0) return text;  // cut off is up, below zero
  for (size_t at = text.size(); at-- > 0;) {
    if (text[at] == '.') continue;
    if (text[at] != '9') {
      ++text[at];
      return text;
    }
    text[at] = '0';
  }
  return "1" + text;
}

}  // namespace rivulet
