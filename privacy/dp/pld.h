#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/status.h"
#include "privacy/dp/loss_distribution.h"

namespace rivulet {

struct RepeatedLoss {
  std::shared_ptr<const LossPair> step;
  int64_t times = 1;  // >= 1
};

// The privacy loss of a composition, both directions. All steps are on one grid.
class ComposedLoss {
 public:
  // Errors: ResourceExhausted when the losses spread over more than 2^21 grid points (take a
  // coarser grid); InvalidArgument for no steps or different grids.
  static absl::StatusOr<ComposedLoss> Make(std::span<const RepeatedLoss> steps);

  // The smallest epsilon >= 0 whose delta is at most `delta` in both directions; infinity when no
  // finite one is known. The transform's rounding is below 1e-14 in delta.
  double Epsilon(double delta) const;
  double Delta(double epsilon) const;  // epsilon >= 0

 private:
  // Masses at losses grid * (first + at), those above `mass` are in `infinite`.
  struct Direction {
    double grid = 0;
    int64_t first = 0;
    std::vector<double> mass;
    double infinite = 0;
  };
  ComposedLoss(Direction remove, Direction add)
      : remove_(std::move(remove)), add_(std::move(add)) {}
  static double EpsilonOfDirection(const Direction& direction, double delta);
  static double DeltaOfDirection(const Direction& direction, double epsilon);
  friend class LossComposer;

  Direction remove_, add_;
};

inline constexpr int kMostTransformBits = 21;

}  // namespace rivulet
