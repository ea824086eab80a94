#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "coordinator/rounds/job_plan.h"
#include "privacy/dp/adaptive_clip.h"
#include "privacy/dp/budget.h"
#include "privacy/dp/central_run.h"
#include "privacy/dp/ledger.h"
#include "privacy/dp/noise_seed.h"
#include "privacy/secagg/shared/params.h"

namespace rivulet {

// Whether a round of this job is a release that its clients' privacy is counted for here. (With
// privacy.mechanism = "example" each client counts its own.)
bool IsPrivate(const JobSpec& spec);

// The name that releases are counted under: data.dataset, or the job's own.
std::string DataSetOf(const JobSpec& spec);

// Central noise that rounds share (privacy.correlation): one seed for the job, one event.
bool IsCorrelated(const JobSpec& spec);

// What the noise of one round is scaled by.
struct RoundTerms {
  double clip_norm = 0;  // C of this round
  int64_t invited = 0;   // clients

  bool operator==(const RoundTerms&) const = default;
};

// The central noise of the rounds of a job with these terms: of all of them, but with adaptive
// clipping, which gives every round its own. Errors: those of AdaptiveClipOf.
absl::StatusOr<CentralRun> CentralRunOf(const JobPlan& plan, const RoundTerms& terms);

// privacy.adaptive-clip: how the clip norm goes on after a round, within what the noise's grid
// holds. Errors: InvalidArgument (exit 3) for a cohort whose bits would cost more than the round
// may; with noise of the clients, MaskedForm::NoiseOf says so.
absl::StatusOr<AdaptiveClip> AdaptiveClipOf(const JobPlan& plan, const RoundTerms& terms);

// bits += the noise of that round's coordinator on the sum of the clients' bits
// (ClipBitCoordinate), from the round's seed. Errors: those of AdaptiveClipOf; OutOfRange.
absl::Status AddClipBitNoise(const JobPlan& plan, const RoundTerms& terms, const NoiseSeed& seed,
                             int64_t& bits);

// z of central noise: the job's own, or the smallest with which all its rounds together keep the
// target. Takes seconds for a sampled cohort: once a job. Errors: InvalidArgument (exit 3).
absl::StatusOr<double> CentralMultiplierOf(const JobSpec& spec);

// What one round is going to release. The outcome (survivors, epsilon, commitment) is not filled
// in. Errors: InvalidArgument.
absl::StatusOr<LedgerRow> PlannedRelease(const JobPlan& plan, const std::string& job,
                                         uint64_t round, const RoundTerms& terms);

// May a round run, and what will it release? All that the answer depends on: it can be found
// without a lock, and holds as long as the question is still the same.
struct ReleaseQuestion {
  std::shared_ptr<const JobPlan> plan;
  std::string job;
  uint64_t round = 0;
  RoundTerms terms;
  int64_t population = 0;       // eligible clients
  std::vector<LedgerRow> rows;  // of all releases of the job's data set, oldest first
  int64_t closed = 0;           // rounds closed there

  bool operator==(const ReleaseQuestion&) const = default;
};

// Its row, with the epsilon after it. Takes seconds. Errors: those of PlannedRelease and PlanRound;
// ResourceExhausted with exit 6 when the budget would be passed.
absl::StatusOr<LedgerRow> AnswerTo(const ReleaseQuestion& question);

// What the sum of a private round is divided by, whoever came: q N of a Poisson sample, or the
// clients invited; with correlated noise job.clients-per-round where the job has it: what one round
// takes back of another's noise must weigh the same.
absl::StatusOr<double> DenominatorOf(const JobSpec& spec, int64_t invited);

// DataLoss unless a job of Poisson cohorts has its secret seed.
absl::Status CheckCohortSecret(const JobSpec& spec, std::string_view seed);

// Poisson cohorts: each name by itself with probability job.fraction-train, from the job's secret
// seed of 32 bytes: the same after a restart, and nobody else's to know. Sorted.
absl::StatusOr<std::vector<std::string>> SecretCohort(const JobSpec& spec, std::string_view seed,
                                                      uint64_t round, uint32_t attempt,
                                                      std::span<const std::string> names);

}  // namespace rivulet
