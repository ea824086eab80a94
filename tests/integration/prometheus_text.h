#pragma once

#include <map>
#include <string>

namespace rivulet {

// A page in Prometheus' text format, read as strictly as the format allows.
struct MetricsText {
  std::map<std::string, std::string> types;  // by family
  std::map<std::string, double> samples;     // by name with labels, as written
  std::string error;                         // the first line that is wrong; empty: none
};
MetricsText ParseMetrics(const std::string& page);

}  // namespace rivulet
