#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "aggregation/fixed_point_sum.h"
#include "aggregation/robust/norm_bounds.h"
#include "common/status.h"

namespace rivulet {

// What one update may be when it is seen in the clear. The first layer of three: it stops mistakes
// and crude attacks, whatever rule comes after it.
struct UpdateBounds {
  NormBounds norms{0, 0, 0};  // C: above it an update is clipped
  double refuse_ratio = 10;   // above so many times C it is refused
  int64_t weight_cap = 1;     // W
};

struct BoundedUpdate {
  std::array<double, NormBounds::kParts> norms{};           // of its parts
  std::array<double, NormBounds::kParts> factors{1, 1, 1};  // what to scale them by
  bool clipped = false;
  bool zero = false;  // flagged: a client that trained has moved something
};

// In this order, each with an error of its own (kLeaveRun):
//   shape    InvalidArgument naming the tensor and both sizes
//   finite   InvalidArgument naming tensor, index and value
//   norm     OutOfRange naming the part, its norm and refuse_ratio * C; at most that and above C is
//            no error: see `factors`
//   weight   OutOfRange naming it and 1 .. W
absl::StatusOr<BoundedUpdate> CheckUpdate(const Manifest& manifest, const UpdateView& update,
                                          int64_t weight, const UpdateBounds& bounds);

// Sets subnormal values to 0, of the same sign; returns how many there were.
size_t FlushSubnormals(std::span<float> values);

// Pairs i < j of updates with the same bits, to be flagged: honest training does not repeat itself.
// Of more than two equal ones, each with the first.
std::vector<std::pair<uint32_t, uint32_t>> IdenticalUpdates(const std::vector<UpdateView>& updates);

}  // namespace rivulet
