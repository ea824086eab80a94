#pragma once

#include <cstdint>
#include <mutex>
#include <string_view>
#include <vector>

#include "coordinator/ops/exposition.h"

namespace rivulet {

// Counts of observed values by upper bound, as Prometheus wants them. Thread safe.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds);  // ascending; +Inf is added

  void Observe(double value);
  void WriteTo(Exposition& page, std::string_view name, std::string_view help) const;

 private:
  const std::vector<double> bounds_;
  mutable std::mutex mutex_;
  std::vector<uint64_t> counts_;  // one a bound and one above them all
  double sum_ = 0;
};

}  // namespace rivulet
