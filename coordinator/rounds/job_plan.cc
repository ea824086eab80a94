#include "coordinator/rounds/job_plan.h"

#include <memory>
#include <utility>

#include "aggregation/scalars/scalar_replay.h"
#include "aggregation/upload/plain_upload.h"
#include "common/job/job_keys.h"
#include "common/job/job_model.h"
#include "coordinator/rounds/decoded_mean.h"
#include "coordinator/rounds/round_privacy.h"

namespace rivulet {

namespace {

// Where the size of cohorts is known before there is one.
absl::Status CheckCentralNoise(const JobPlan& plan) {
  const bool known = plan.spec.job.clients_per_round > 0 || plan.spec.privacy.sampling == "poisson";
  if (plan.spec.privacy.adaptive_clip && !known) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(
      const CentralRun noise,
      CentralRunOf(plan, {plan.spec.privacy.clip_norm, plan.spec.job.clients_per_round}));
  return WithExit(Annotate(noise.Variance().status(), "[privacy]"), ExitCode::kConfig);
}

// The same of noise of the clients, where adaptive clipping may ask for more of them.
absl::Status CheckClientNoise(const JobPlan& plan) {
  const auto cohort = static_cast<uint32_t>(plan.spec.job.clients_per_round);
  if (!plan.spec.privacy.adaptive_clip || cohort == 0) return absl::OkStatus();
  const secagg::Params params = plan.masked->ParamsOf({.attempt = 1, .cohort = cohort});
  RV_ASSIGN_OR_RETURN(const DistributedNoise noise, plan.masked->NoiseOf(params));
  return noise.Plan().status();
}

// Of one round: about an hour of one core (DrawsOf). Nobody waits for more.
constexpr double kMostDraws = 2e13;

// What the coordinator has to draw to move the state, whatever its clients do.
absl::Status CheckDraws(const ScalarForm& form) {
  const int choosing = form.candidates() > 1 ? form.candidates() : 0;
  const uint64_t trained = SizeBytesOf(form.trained()) / sizeof(float);
  // To rank them each is drawn number by number, whatever its kind.
  const double ranked =
      double{1} * choosing * static_cast<double>(form.count()) * static_cast<double>(trained);
  const double draws = DrawsOfRound(form) + ranked;
  if (draws <= kMostDraws) return absl::OkStatus();
  return WithExit(
      Refuse(absl::StatusCode::kInvalidArgument,
             "[scalars]: got " + std::to_string(form.count()) + " directions of " +
                 (choosing > 0 ? std::to_string(choosing) + " candidates each and " : "") +
                 std::to_string(trained) + " trained numbers, which a round draws as slowly as " +
                 NumberText(draws) + " signs; want at most " + NumberText(kMostDraws) +
                 ", about an hour of one core: fewer directions, or train.direction = "
                 "\"low-rank\" of rank 1"),
      ExitCode::kConfig);
}

}  // namespace

absl::StatusOr<JobSpec> SpecOf(std::string_view document) {
  RV_ASSIGN_OR_RETURN(JobDocument job, ParseJobDocument(document));
  return std::move(job.spec);
}

absl::StatusOr<JobPlan> PlanOf(std::string_view document) {
  RV_ASSIGN_OR_RETURN(JobDocument job, ParseJobDocument(document));
  if (job.spec.data.task == "classification" && job.spec.data.labels.empty()) {
    return WithExit(Refuse(absl::StatusCode::kInvalidArgument,
                           "data.labels: got none, want all class names: each client would number "
                           "its own"),
                    ExitCode::kConfig);
  }
  RV_ASSIGN_OR_RETURN(JobModel model, JobModelOf(job));
  JobPlan plan;
  plan.spec = std::move(job.spec);
  plan.base_hash = job.base_hash;
  plan.manifest = model.plan.wire();
  plan.from_base = model.plan.from_base();
  plan.base_tensors = std::move(job.base_tensors);
  if (plan.from_base.empty() != plan.base_tensors.empty()) {
    return WithExit(
        Refuse(absl::StatusCode::kInvalidArgument,
               "job document: base_tensors: got '" + plan.base_tensors + "', want " +
                   (plan.from_base.empty()
                        ? "no such key: nothing starts from the base model"
                        : "the hash of a file of " + Describe(plan.from_base[0]) + " and " +
                              std::to_string(plan.from_base.size() - 1) + " more")),
        ExitCode::kConfig);
  }
  plan.scalars = ScalarForm::Of(plan.spec, plan.manifest);
  if (plan.scalars) RV_RETURN_IF_ERROR(CheckDraws(*plan.scalars));
  if (plan.spec.secure_aggregation.enabled) {
    absl::StatusOr<MaskedForm> form = MaskedForm::Of(plan.spec, plan.update_manifest());
    if (!form.ok()) return WithExit(form.status(), ExitCode::kConfig);
    plan.masked = *std::move(form);
  }
  if (plan.spec.privacy.mechanism == "central") {
    RV_ASSIGN_OR_RETURN(plan.noise_multiplier, CentralMultiplierOf(plan.spec));
    RV_RETURN_IF_ERROR(CheckCentralNoise(plan));
  }
  if (plan.masked && plan.masked->noised()) {
    RV_RETURN_IF_ERROR(WithExit(Annotate(CheckClientNoise(plan), "[privacy]"), ExitCode::kConfig));
  }
  if (IsCoded(plan.spec)) RV_RETURN_IF_ERROR(JobCodec(plan.spec, plan.update_manifest()).status());
  if (!plan.spec.secure_aggregation.enabled || plan.spec.robust.groups > 0)
    RV_RETURN_IF_ERROR(CheckRobustRule(plan.spec));
  const auto adapter = std::make_shared<const AdapterPlan>(std::move(model.plan));
  plan.initial = [adapter, seed = plan.spec.job.seed](const ParameterSet& from_base) {
    return InitialState(*adapter, seed, from_base);
  };
  return plan;
}

absl::Status CheckNewJob(const JobPlan& plan) {
  if (!plan.masked) return absl::OkStatus();
  const auto cohort = static_cast<uint32_t>(plan.spec.job.clients_per_round);
  return WithExit(plan.masked->CheckCohort(cohort), ExitCode::kConfig);
}

}  // namespace rivulet
