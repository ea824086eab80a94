#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "common/job/job_spec.h"
#include "common/tensor/parameter_set.h"
#include "peft/data/example.h"
#include "peft/trainer/example_privacy.h"

namespace rivulet {

struct TuneRequest {
  const ParameterSet* global =
      nullptr;  // trainable state of the round, in manifest order; must outlive the call
  // `global` itself, where nobody reads it after the call: a tuner may walk in it, and leaves what
  // it likes there, also where it fails. Null: `global` is only read.
  ParameterSet* spent = nullptr;
  std::span<const Example> examples;
  uint64_t round = 0;
  std::string client;               // with job.seed and round the root of every random choice
  std::function<bool()> cancelled;  // polled between steps; may be empty
  // With [scalars] and an estimator that measures: backpropagate and project the gradient on the
  // same directions instead.
  bool project_gradient = false;
  // With scalars.drawn-from = "session": what the round's directions follow from, of the client's
  // own masking session.
  std::optional<uint64_t> session_root;
  std::string choice;  // with scalars.candidates: ScalarRound::choice
  // With scalars.pool-choice = "amplitude": SumsOfPool of the log of `global`; must outlive the
  // call.
  std::span<const float> pool_sums;
  // Protects each example of `examples` with DP-SGD; off by default. Then it says how many steps
  // there are and what each one takes; of the job's train section learning rate and its schedule,
  // optimiser, proximal term, threads and the size of a micro-batch remain. Every example must be a
  // record of its own, so data.packing is refused. The caller accounts for the steps beforehand.
  std::optional<ExamplePrivacy> privacy;
  GradientNoise* noise = nullptr;  // with `privacy`; must outlive the call
};

// Under example privacy nothing here tells more than the noised gradients do: the counts are those
// expected (batch size times steps, and data.seq-length tokens for each example of causal-lm), the
// loss is 0, and grad_norm that of the noised average.
struct TuneResult {
  // Trained minus received, F32, same manifest as the global state; with [scalars] the coefficients
  // of ScalarForm.
  ParameterSet delta;
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
  // Errors: InvalidArgument (state does not fit the manifest or is not the one spent, no examples,
  // no root of a session where directions follow from one, a setting that example privacy does not
  // go with), Aborted (cancelled), Internal for a loss or gradient that is not finite, naming step
  // and value.
  virtual absl::StatusOr<TuneResult> Tune(const TuneRequest& request) = 0;
  virtual absl::StatusOr<EvaluationSums> Evaluate(const ParameterSet& global,
                                                  std::span<const Example> examples) = 0;
  // What is trained: names, shapes; equal to common/formats' manifest for the same config and
  // method.
  virtual const Manifest& manifest() const = 0;
};

}  // namespace rivulet
