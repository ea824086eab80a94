#include "coordinator/rounds/job_plan.h"

#include <memory>
#include <utility>

#include "common/job/job_model.h"

namespace rivulet {

absl::StatusOr<JobPlan> PlanOf(std::string_view document) {
  RV_ASSIGN_OR_RETURN(JobDocument job, ParseJobDocument(document));
  RV_ASSIGN_OR_RETURN(JobModel model, JobModelOf(job));
  JobPlan plan;
  plan.spec = std::move(job.spec);
  plan.base_hash = job.base_hash;
  plan.manifest = model.plan.wire();
  const auto adapter = std::make_shared<const AdapterPlan>(std::move(model.plan));
  plan.initial = [adapter, seed = plan.spec.job.seed] { return InitialState(*adapter, seed); };
  return plan;
}

}  // namespace rivulet
