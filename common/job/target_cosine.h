#pragma once

#include <cstdint>

#include "common/job/job_spec.h"

// train.target-cosine: how many directions a client measures follows from how close an estimate
// shall come to the gradient, in place of a number tuned for each model (FwdLLM, Xu et al. 2024).

namespace rivulet {

// P = d c^2 / (1 - c^2), rounded up: the mean of P slopes times their directions has the cosine c =
// sqrt(P / (P + d - 1)) with the gradient in d dimensions, for signs; a little less for normal
// numbers.
//   dimensions  d >= 1
//   cosine      c, 0 < c < 1
double DirectionsFor(int64_t dimensions, double cosine);

// Sets train.queries of a job with a target to P over what measures at one state: the steps of a
// round and, but for directions that all clients share ([scalars]), its clients; 2 at least for
// fzoo. At the end of a round's steps the state has moved, which the formula does not see.
//   trained  numbers that the job trains.
// Nothing without a target. Errors: InvalidArgument (exit 3) for more queries than a step may have,
// and for a train.queries that was set to another number than this; those of Validate.
absl::Status FillQueries(int64_t trained, JobSpec& spec);

// Of a job that somebody else filled in. Errors: InvalidArgument (exit 3) for another number.
absl::Status CheckQueries(int64_t trained, const JobSpec& spec);

}  // namespace rivulet
