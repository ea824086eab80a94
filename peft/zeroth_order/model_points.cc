#include "peft/zeroth_order/model_points.h"

namespace rivulet {

std::unique_ptr<ModelPoints> MakePoints(const Method& method, const TrainSection& train,
                                        const ModelConfig& config, const Directions& directions,
                                        size_t lanes) {
  if (method.name() != "whole") return MakeCopiedPoints(method, directions, lanes);
  const bool inside = train.direction == "low-rank" || train.direction == "subspace";
  return inside ? MakeFactoredPoints(method, directions, config)
                : MakeDrawnPoints(method, directions);
}

}  // namespace rivulet
