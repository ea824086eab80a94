#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "common/job/job_spec.h"
#include "common/status.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// How one round's mean update moves the global model. Never sees a single client's update, so every
// one works under secure aggregation. Arithmetic is binary64, coordinate by coordinate in manifest
// order without contraction; what is kept between rounds is rounded to the dtype of its tensor in
// every round, so a restart from a checkpoint continues with the same bits. Not thread safe.
class ServerOptimizer {
 public:
  virtual ~ServerOptimizer() = default;

  // Written to checkpoints. Change it when the mathematics changes.
  virtual std::string_view name() const = 0;

  // Moves `global` by `mean_delta` (trained minus received). Both have the manifest the optimiser
  // was made for.
  // Errors: InvalidArgument when a manifest differs; OutOfRange naming tensor and index when a
  // coordinate would no longer be finite. `global` and the state are then untouched.
  virtual absl::Status Apply(const ParameterSet& mean_delta, ParameterSet& global) = 0;

  // What must be checkpointed beside the model: tensors "<name>.<slot>:<tensor>". Empty for fedavg.
  virtual const ParameterSet& State() const = 0;
  // Takes a checkpoint back. Errors: InvalidArgument naming the first tensor that is not this
  // optimiser's; the state is then untouched.
  virtual absl::Status Restore(ParameterSet state) = 0;
};

// By `strategy.name`; `manifest` holds F32 tensors (F64 is accepted, for tests at full precision).
// Errors: NotFound listing the names; InvalidArgument naming the first tensor of another dtype.
absl::StatusOr<std::unique_ptr<ServerOptimizer>> MakeServerOptimizer(
    const StrategySection& strategy, const Manifest& manifest);

std::vector<std::string_view> ServerOptimizerNames();

}  // namespace rivulet
