#include "aggregation/robust/update_bounds.h"

#include <cmath>
#include <sstream>
#include <string>

namespace rivulet {
namespace {

std::string TextOf(double value) {
  std::ostringstream text;  // six digits of any size
  text << value;
  return text.str();
}

}  // namespace

absl::Status CheckNorm(double squared_norm, double bound) {
  const double norm = std::sqrt(squared_norm), most = kRefuseRatio * bound;
  if (bound == 0 || norm <= most) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "update: L2 norm: got " + TextOf(norm) + ", want at most " + TextOf(most) +
                    ", which is 10 times the norm bound",
                Remedy::kLeaveRun);
}

}  // namespace rivulet
