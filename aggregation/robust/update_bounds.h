#pragma once

#include "common/status.h"

namespace rivulet {

// What one update may be when it is seen in the clear, before any rule: the first layer of three,
// against mistakes and crude attacks. Above a bound C on its L2 norm a rule scales it down; above
// so many times C it is refused.
inline constexpr double kRefuseRatio = 10;

// `squared_norm`: of the update, finite. `bound`: C; 0 = none. Errors: InvalidArgument (kLeaveRun)
// naming the norm and kRefuseRatio * C.
absl::Status CheckNorm(double squared_norm, double bound);

}  // namespace rivulet
