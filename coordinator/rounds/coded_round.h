#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "aggregation/upload/plain_upload.h"
#include "coordinator/rounds/job_plan.h"
#include "coordinator/rounds/upload_check.h"
#include "coordinator/storage/blob_store.h"

namespace rivulet {

// Reads the uploads of one round of a job whose updates are coded (IsCoded): its codec and what is
// public of the round. Reads the states that a codec chooses by when it is first used, not before.
// Thread safe; decodes one upload at a time, so that its memory is that of one update.
class CodedRound {
 public:
  // `initial_sha256`, `state_sha256`: blobs of the states of round 0 and of round - 1.
  CodedRound(std::shared_ptr<const JobPlan> plan, const BlobStore& blobs, uint64_t round,
             std::string initial_sha256, std::string state_sha256);

  uint64_t round() const { return round_; }

  // `out` has the manifest of the job. Every value is finite and |value| < 128. Errors:
  // InvalidArgument (kLeaveRun) naming what is wrong with the payload, or tensor, index and value;
  // those of the blobs.
  absl::Status Decode(std::string_view payload, ParameterSet& out) const;
  // The same of a whole file, for its verdict, and CheckNorm. Returns whether all values are 0.
  absl::StatusOr<bool> Judge(const BlobReader& payload) const;

 private:
  absl::Status Prepare() const;
  absl::Status DecodeLocked(std::string_view payload, ParameterSet& out) const;

  const std::shared_ptr<const JobPlan> plan_;
  const BlobStore& blobs_;
  const uint64_t round_;
  const std::string initial_sha256_, state_sha256_;

  mutable std::mutex mutex_;                     // of what follows
  mutable std::unique_ptr<const Codec> codec_;   // from the first use on
  mutable std::optional<PublicContext> shared_;  // from then on, too
};

// No payload of this job is larger. 0 where the job's codec cannot be made.
uint64_t LargestPayloadBytes(const JobPlan& plan);

// Of one upload of `file_bytes` that goes into `file`; decodes it when it is whole. Both must
// outlive the check.
std::unique_ptr<UploadCheck> CheckOfPayload(const CodedRound& round, const BlobWriter& file,
                                            uint64_t file_bytes);

}  // namespace rivulet
