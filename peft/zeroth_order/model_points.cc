#include "peft/zeroth_order/model_points.h"

namespace rivulet {

std::unique_ptr<ModelPoints> MakePoints(const Method& method, const TrainSection& train,
                                        const ModelConfig& config, const Directions& directions,
                                        std::span<const float> values, size_t lanes) {
  const bool inside =
      method.name() == "whole" && (train.direction == "low-rank" || train.direction == "subspace");
  return inside ? MakeFactoredPoints(method, directions, values, config)
                : MakeCopiedPoints(method, directions, values, lanes);
}

}  // namespace rivulet
