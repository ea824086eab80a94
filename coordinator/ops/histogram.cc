#include "coordinator/ops/histogram.h"

#include <algorithm>
#include <limits>

namespace rivulet {

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

void Histogram::Observe(double value) {
  const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  const std::lock_guard lock(mutex_);
  ++counts_[static_cast<size_t>(bound - bounds_.begin())];
  sum_ += value;
}

void Histogram::WriteTo(Exposition& page, std::string_view name, std::string_view help) const {
  page.Family(name, "histogram", help);
  const std::lock_guard lock(mutex_);
  uint64_t so_far = 0;
  for (size_t row = 0; row < counts_.size(); ++row) {
    so_far += counts_[row];
    const double bound =
        row < bounds_.size() ? bounds_[row] : std::numeric_limits<double>::infinity();
    page.Sample(static_cast<double>(so_far), {{"le", MetricNumber(bound)}}, "_bucket");
  }
  page.Sample(sum_, {}, "_sum");
  page.Sample(static_cast<double>(so_far), {}, "_count");
}

}  // namespace rivulet
