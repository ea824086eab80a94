#pragma once

#include <memory>
#include <span>

#include "common/job/job_spec.h"
#include "peft/method/method.h"
#include "peft/zeroth_order/estimator.h"

namespace rivulet {

struct ModelConfig;

// How a model comes to stand at w + scale z without w being written. Not thread safe.
class ModelPoints {
 public:
  virtual ~ModelPoints() = default;
  // For one pass at `points` about w, a lane each (LaneLosses), or a plain pass where there is one.
  // Valid until the next call and as long as `w`, F32 of the method's manifest, is there unchanged.
  virtual Adaptation At(const ParameterSet& w, std::span<const EvaluationPoint> points) = 0;
};

// By copies of everything trained, one for each of up to `lanes` points at once. Method and
// directions must outlive what is made, here and below.
std::unique_ptr<ModelPoints> MakeCopiedPoints(const Method& method, const Directions& directions,
                                              size_t lanes);

// One point at a time, for tensors of the base model itself: each is moved when a layer asks for
// it, so that no more than a layer's copies exist and they are read out of the cache. Losses have
// the bits of copies.
std::unique_ptr<ModelPoints> MakeDrawnPoints(const Method& method, const Directions& directions);

// The same for directions of a rank: a matrix W of a linear map stays where it is, and
// x (W + s a b^T)^T is x W^T + s (x b) a^T. Norms, biases, embeddings and output heads are moved on
// copies. `config` is the base model's.
std::unique_ptr<ModelPoints> MakeFactoredPoints(const Method& method, const Directions& directions,
                                                const ModelConfig& config);

// Whole models: the third kind for directions of a rank (low-rank, subspace), else the second. All
// others: the first.
std::unique_ptr<ModelPoints> MakePoints(const Method& method, const TrainSection& train,
                                        const ModelConfig& config, const Directions& directions,
                                        size_t lanes);

}  // namespace rivulet
