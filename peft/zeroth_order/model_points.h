#pragma once

#include <memory>
#include <span>
#include <vector>

#include "common/job/job_spec.h"
#include "peft/method/method.h"
#include "peft/zeroth_order/estimator.h"

namespace rivulet {

struct ModelConfig;

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

// One point at a time, for directions of a rank over tensors of the base model itself: a matrix
// W of a linear map stays where it is in `values`, and x (W + s a b^T)^T is x W^T + s (x b) a^T.
// Norms, biases, embeddings and output heads are moved on a copy. `config` is the base model's.
std::unique_ptr<ModelPoints> MakeFactoredPoints(const Method& method, const Directions& directions,
                                                std::span<const float> values,
                                                const ModelConfig& config);

// The second kind for directions of a rank (low-rank, subspace) over whole models, else the first.
std::unique_ptr<ModelPoints> MakePoints(const Method& method, const TrainSection& train,
                                        const ModelConfig& config, const Directions& directions,
                                        std::span<const float> values, size_t lanes);

}  // namespace rivulet
