#include "aggregation/robust/update_bounds.h"

#include <cmath>
#include <string>

namespace rivulet {

absl::Status CheckNorm(double squared_norm, double bound) {
  const double norm = std::sqrt(squared_norm), most = kRefuseRatio * bound;
  if (bound == 0 || norm <= most) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "update: L2 norm: got " + std::to_string(norm) + ", want at most " +
                    std::to_string(most) + ", which is 10 times the norm bound",
                Remedy::kLeaveRun);
}

}  // namespace rivulet
