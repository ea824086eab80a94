#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "aggregation/values_digest.h"
#include "common/status.h"
#include "coordinator/rounds/job_plan.h"

namespace rivulet {

// Looks at the foreign bytes of one upload as they come: what a job's form of upload asks of them.
// One for every form: plain F32 (update_checker.h), coded, masked. Not thread safe.
class UploadCheck {
 public:
  virtual ~UploadCheck() = default;
  virtual void Feed(std::span<const std::byte> bytes) = 0;  // the next ones of the file
  // Once all were fed. Errors: InvalidArgument (kLeaveRun) naming what is wrong first, seen and
  // wanted; DataLoss (kResync) when others than all were fed.
  virtual absl::Status Finish() = 0;
  // Of the values, for whoever reads them again; where there are none, an empty one.
  virtual ValuesDigest digest() const { return {}; }
  // Nothing but zeros, as far as that can be seen: a client that trained has moved something.
  virtual bool zero() const { return false; }
  // Masked: what is signed behind the vector.
  virtual std::string_view trailer() const { return {}; }
};

// For uploads of this job whose values lie in the file as they are (else: coded_round.h,
// masked_upload.h). `plan` must outlive it.
std::unique_ptr<UploadCheck> MakeUploadCheck(const JobPlan& plan, uint64_t file_bytes);

// C, which an update without masks is held against (update_bounds.h): robust.norm-bound where a
// rule scales updates down to it. 0: none.
double NormBoundOf(const JobSpec& spec);

// No upload of this job without masks is larger.
uint64_t LargestUploadBytes(const JobPlan& plan);

}  // namespace rivulet
