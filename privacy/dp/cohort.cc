#include "privacy/dp/cohort.h"

#include <cmath>

namespace rivulet {

absl::StatusOr<std::vector<std::string>> DrawPoissonCohort(double q,
                                                           std::span<const std::string> names,
                                                           WordSource& words) {
  if (!(q > 0 && q <= 1)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "sampling probability: got " + std::to_string(q) + ", want above 0, at most 1");
  }
  if (q == 1) return std::vector<std::string>(names.begin(), names.end());
  const auto limit = static_cast<uint64_t>(std::floor(q * 0x1p64));
  std::vector<std::string> cohort;
  for (const std::string& name : names) {
    if (words.Next() < limit) cohort.push_back(name);
  }
  return cohort;
}

}  // namespace rivulet
