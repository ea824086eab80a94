#include "coordinator/rounds/upload_check.h"

#include "coordinator/rounds/masked_upload.h"
#include "coordinator/rounds/update_checker.h"
#include "coordinator/rounds/update_layout.h"

namespace rivulet {

std::unique_ptr<UploadCheck> MakeUploadCheck(const JobPlan& plan, uint64_t file_bytes,
                                             const secagg::Params* masked) {
  if (masked != nullptr) return NewMaskedUploadCheck(*masked, file_bytes);
  return std::make_unique<UpdateChecker>(plan.manifest, file_bytes);
}

uint64_t LargestUploadBytes(const JobPlan& plan) { return LargestUpdateBytes(plan.manifest); }

}  // namespace rivulet
