#include "coordinator/ops/exposition.h"

#include <charconv>
#include <cmath>

namespace rivulet {
namespace {

std::string Escaped(std::string_view text) {
  std::string out;
  for (const char letter : text) {
    if (letter == '\n') {
      out += "\\n";
      continue;
    }
    if (letter == '"' || letter == '\\') out += '\\';
    out += letter;
  }
  return out;
}

}  // namespace

std::string MetricNumber(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char digits[32];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
  return std::string(digits, end);
}

void Exposition::Family(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  text_ += "# HELP " + name_ + " " + Escaped(help) + "\n# TYPE " + name_ + " " + std::string(type) +
           "\n";
}

void Exposition::Sample(double value, const Labels& labels, std::string_view suffix) {
  text_ += name_ + std::string(suffix);
  for (size_t row = 0; row < labels.size(); ++row) {
    text_ += row == 0 ? "{" : ",";
    text_ += std::string(labels[row].first) + "=\"" + Escaped(labels[row].second) + "\"";
  }
  if (!labels.empty()) text_ += "}";
  text_ += " " + MetricNumber(value) + "\n";
}

}  // namespace rivulet
