#include "coordinator/rounds/upload_check.h"

#include "coordinator/rounds/coded_round.h"
#include "coordinator/rounds/update_checker.h"
#include "coordinator/rounds/update_layout.h"

namespace rivulet {

std::unique_ptr<UploadCheck> MakeUploadCheck(const JobPlan& plan, uint64_t file_bytes) {
  const UpdateLimits limits{plan.scalars && plan.scalars->votes(), NormBoundOf(plan.spec)};
  return std::make_unique<UpdateChecker>(plan.update_manifest(), file_bytes, limits);
}

double NormBoundOf(const JobSpec& spec) {
  const RobustSection& robust = spec.robust;
  const bool scales = robust.rule != "none" && robust.rule != "centred-clipping";  // its radius
  return scales ? robust.norm_bound : 0;
}

uint64_t LargestUploadBytes(const JobPlan& plan) {
  return IsCoded(plan.spec) ? LargestPayloadBytes(plan)
                            : LargestUpdateBytes(plan.update_manifest());
}

}  // namespace rivulet
