#pragma once

#include <memory>
#include <optional>

#include "common/job/job_spec.h"
#include "common/status.h"
#include "peft/trainer/example_privacy.h"
#include "privacy/dp/accountant.h"

namespace rivulet {

// One client's promise to its own examples (privacy.mechanism = "example"): DP-SGD in its training,
// noise of its own, counted by itself. The coordinator has no part in it and learns no epsilon.
struct ExampleGuard {
  ExamplePrivacy privacy;  // of one round
  Epsilon spent;           // after `round` rounds, if the client was in every one
};

// What round `round` costs a client of `examples` examples, and what it trains by. The batch of the
// job is the expected size of a Poisson sample. z: the job's, or the smallest that keeps
// privacy.target-epsilon over all rounds. Errors: InvalidArgument (exit 3) for a job without
// train.max-steps, a target that no noise reaches, or a privacy.target-delta of 1 / examples or
// more (above a tenth of that: a warning); ResourceExhausted (exit 6) when this round would pass
// it.
absl::StatusOr<ExampleGuard> GuardExamples(const JobSpec& spec, size_t examples, uint64_t round);

// Secret words and exact noise, keyed anew by the operating system's generator. Wiped.
std::unique_ptr<GradientNoise> NewSecretGradientNoise();

}  // namespace rivulet
