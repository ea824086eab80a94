#pragma once

#include <memory>
#include <span>
#include <vector>

#include "peft/method/method.h"
#include "peft/zeroth_order/estimator.h"

namespace rivulet {

// How a model comes to stand at w + scale z without w being written. Not thread safe.
class ModelPoints {
 public:
  virtual ~ModelPoints() = default;
  // For one pass at `points`, a lane each (LaneLosses), or a plain pass where there is one. Valid
  // until the next call and as long as `values` lives.
  virtual Adaptation At(std::span<const EvaluationPoint> points) = 0;
};

// By copies of everything trained, one for each of up to `lanes` points at once.
//   values  [directions.size()] w, in the order of the method's manifest.
// The arguments must outlive what is made.
std::unique_ptr<ModelPoints> MakeCopiedPoints(const Method& method, const Directions& directions,
                                              std::span<const float> values, size_t lanes);

}  // namespace rivulet
