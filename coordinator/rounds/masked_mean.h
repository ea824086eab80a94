#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/rounds/job_plan.h"
#include "coordinator/rounds/masked_round.h"
#include "coordinator/rounds/round_privacy.h"
#include "coordinator/storage/blob_store.h"
#include "coordinator/storage/state_store.h"

namespace rivulet {

// What a round under masks comes to.
struct MaskedMean {
  ParameterSet mean;
  std::vector<float> reduced;  // of the one sum, as it was summed
  int64_t clip_bits = 0;       // of adaptive clipping, noise included
  int64_t scaled = 0;          // means of groups that were scaled down to robust.norm-bound
  RoundFigures figures;        // the sums' own, bytes, and the groups without a part in the mean
};

// What the round's numbers are read by, beside the job.
struct MaskedReading {
  std::vector<float> previous;  // of MaskedForm::MapsOf
  std::string first_sha256;     // of a second pass (MaskedForm::OfSecondPass), else empty
};

// The bytes of a first pass's mean that the second goes by: binary32, little endian.
std::string FirstPassBytes(std::span<const float> mean);
// Of `parent`, the state of a second pass. Errors: DataLoss for what are no such bytes; those of
// the blobs.
absl::StatusOr<std::vector<float>> ReadFirstPass(const BlobStore& blobs, const ModelRecord& parent);
// Their SHA-256 where the round after `parent` is a second pass; empty where it is none.
std::string FirstPassOf(const JobPlan& plan, const ModelRecord& parent);

// Opens the sum of every group of `round` that is not left out: over those of `updates`, the frozen
// set, whose clients are in it. Then the mean of the one sum, or robust.rule over the means of the
// groups. Where there are several, one whose sum its members have spoiled is left out.
// `noise_seed`: of central noise (32 bytes), which the one sum
// and the bits of adaptive clipping get, scaled by `terms`. Takes time. Errors: those of
// MaskedGroup::Open, of the blobs and of RobustMean; FailedPrecondition when fewer groups can be
// opened than the rule needs.
absl::StatusOr<MaskedMean> OpenMaskedMean(const BlobStore& blobs, const JobPlan& plan,
                                          const std::vector<UpdateRecord>& updates,
                                          const MaskedReading& reading, std::string_view noise_seed,
                                          const RoundTerms& terms, MaskedRound& round);

}  // namespace rivulet
