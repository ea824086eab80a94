#pragma once

#include <memory>

#include "client/runtime/example_ledger.h"
#include "common/job/job_spec.h"
#include "common/status.h"
#include "peft/trainer/example_privacy.h"
#include "privacy/crypto/secret.h"
#include "privacy/dp/accountant.h"

namespace rivulet {

// One client's promise to its own examples (privacy.mechanism = "example"): DP-SGD in its training,
// noise of its own, counted by itself in an ExampleLedger. The coordinator has no part in it and
// learns no epsilon.
//
// What a client of `examples` examples trains one round by. The batch of the job is the expected
// size of a Poisson sample. z: the job's, or the smallest that keeps privacy.target-epsilon over
// all rounds. Errors: InvalidArgument (exit 3) for a job without train.max-steps, a target that no
// noise reaches, or a privacy.target-delta of 1 / examples or more (above a tenth of that: a
// warning).
absl::StatusOr<ExamplePrivacy> ExamplePrivacyOf(const JobSpec& spec, size_t examples);

// The entry of such a training; ExampleLedger::Charge wants it before the training begins.
ExampleRelease ReleaseOf(const ExamplePrivacy& privacy, const std::string& job, uint64_t round,
                         uint32_t attempt);

// Words and exact noise, all from `key`; wiped. Whoever knows the key knows the noise.
std::unique_ptr<GradientNoise> GradientNoiseOf(const Secret32& key);
// The same, keyed anew by the operating system's generator.
std::unique_ptr<GradientNoise> NewSecretGradientNoise();

}  // namespace rivulet
