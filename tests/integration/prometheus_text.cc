#include "tests/integration/prometheus_text.h"

#include <regex>
#include <sstream>

namespace rivulet {
namespace {

// The family a sample belongs to: its own name, or that of the histogram it is a part of.
std::string FamilyOf(const MetricsText& page, const std::string& name) {
  for (const std::string suffix : {"_bucket", "_sum", "_count"}) {
    if (!name.ends_with(suffix)) continue;
    const std::string family = name.substr(0, name.size() - suffix.size());
    if (const auto row = page.types.find(family); row != page.types.end()) {
      if (row->second == "histogram") return family;
    }
  }
  return name;
}

bool TakeSample(MetricsText& page, const std::string& line) {
  static const std::regex kSample(
      R"re(([a-z][a-z0-9_]*)(\{[a-z_]+="(?:[^"\\]|\\.)*"(?:,[a-z_]+="(?:[^"\\]|\\.)*")*\})? (\S+))re");
  std::smatch parts;
  if (!std::regex_match(line, parts, kSample)) return false;
  if (!page.types.contains(FamilyOf(page, parts[1]))) return false;
  size_t used = 0;
  const std::string number = parts[3];
  const double value = std::stod(number, &used);
  return used == number.size() &&
         page.samples.emplace(std::string(parts[1]) + std::string(parts[2]), value).second;
}

bool TakeLine(MetricsText& page, const std::string& line) {
  static const std::regex kHelp(R"(# HELP [a-z][a-z0-9_]* .+)");
  static const std::regex kType(R"(# TYPE ([a-z][a-z0-9_]*) (counter|gauge|histogram))");
  std::smatch parts;
  if (std::regex_match(line, kHelp)) return true;
  if (std::regex_match(line, parts, kType)) return page.types.emplace(parts[1], parts[2]).second;
  return TakeSample(page, line);
}

}  // namespace

MetricsText ParseMetrics(const std::string& text) {
  MetricsText page;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line) && page.error.empty();) {
    if (!TakeLine(page, line)) page.error = line;
  }
  return page;
}

}  // namespace rivulet
