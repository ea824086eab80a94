#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "common/job/job_spec.h"
#include "common/tensor/parameter_set.h"
#include "peft/data/example.h"

namespace rivulet {

struct TuneRequest {
  const ParameterSet* global =
      nullptr;  // trainable state of the round, in manifest order; must outlive the call
  std::span<const Example> examples;
  uint64_t round = 0;
  std::string client;               // with job.seed and round the root of every random choice
  std::function<bool()> cancelled;  // polled between steps; may be empty
};

struct TuneResult {
  ParameterSet delta;  // trained minus received, F32, same manifest as the global state
  int64_t examples = 0;
  int64_t tokens = 0;    // predictions that carried loss: next tokens, or classified examples
  int64_t steps = 0;     // optimiser steps
  double loss = 0;       // mean over steps, nats per counted token
  double grad_norm = 0;  // of the last step, before clipping
};

// Sums, so that figures of many clients add up exactly as their updates do.
struct EvaluationSums {
  double loss = 0;  // nats, summed over counted positions (causal-lm) or examples (classification)
  int64_t counted = 0;  // those positions or examples
  int64_t correct = 0;  // classification: right answers; causal-lm: right next tokens
};

// One client's local work on one base model. Thread safe: several threads may tune different
// clients at once over the same frozen base; results do not depend on which or how many.
class Tuner {
 public:
  virtual ~Tuner() = default;
  // Errors: InvalidArgument (state does not fit the manifest, no examples), Aborted (cancelled),
  // Internal for a loss or gradient that is not finite, naming step and value.
  virtual absl::StatusOr<TuneResult> Tune(const TuneRequest& request) = 0;
  virtual absl::StatusOr<EvaluationSums> Evaluate(const ParameterSet& global,
                                                  std::span<const Example> examples) = 0;
  // What is trained: names, shapes; equal to common/formats' manifest for the same config and
  // method.
  virtual const Manifest& manifest() const = 0;
};

}  // namespace rivulet
