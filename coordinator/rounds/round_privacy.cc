#include "coordinator/rounds/round_privacy.h"

#include <algorithm>
#include <cmath>

#include "privacy/dp/calibration.h"
#include "privacy/dp/cohort.h"
#include "privacy/dp/known_answers.h"
#include "privacy/dp/mechanism.h"
#include "privacy/dp/noise_seed.h"

namespace rivulet {
namespace {

constexpr double kGridSteps = 16777216;  // of FixedPointSum, for one unit
constexpr double kMostDeviation = 20;    // z C: what the grid of the noise holds, with room

int64_t ValuesOf(const Manifest& manifest) {
  int64_t values = 0;
  for (const TensorSpec& spec : manifest) values += spec.elements();
  return values;
}

double SamplingOf(const JobSpec& spec) {
  return spec.privacy.sampling == "poisson" ? spec.job.fraction_train : 1.0;
}

absl::Status FillDistributed(const JobPlan& job, const RoundTerms& terms, LedgerRow& row) {
  const MaskedForm form = job.masked->OfRound(terms.clip_norm);
  // Of any attempt: the noise depends on how many are invited to it and nothing else.
  const secagg::Params params =
      form.ParamsOf({.attempt = 1, .cohort = static_cast<uint32_t>(terms.invited)});
  RV_ASSIGN_OR_RETURN(const DistributedNoise noise, form.NoiseOf(params));
  RV_ASSIGN_OR_RETURN(const DistributedPlan plan, noise.Plan());
  RV_ASSIGN_OR_RETURN(const NoiseShares shares, noise.session.Shares());
  row.mechanism = noise.noise == DistributedEvent::Noise::kSkellam
                      ? DpMechanism::kDistributedSkellam
                      : DpMechanism::kDistributedGaussian;
  row.relation = RelationName::kZeroOut;
  row.z_delta = noise.noise_multiplier;
  row.z = form.adaptive() ? noise.total_multiplier : noise.noise_multiplier;
  row.n_eff = shares.effective();
  row.n_max = shares.most();
  row.values = noise.values;
  row.sigma_int = std::sqrt(static_cast<double>(plan.local_variance));
  row.scale = plan.scale;
  row.norm_bound = plan.norm_bound;
  row.accumulator_bits = noise.accumulator_bits;
  return absl::OkStatus();
}

CentralRun RunOf(const JobSpec& spec, double noise_multiplier, int64_t values) {
  CentralRun run;
  if (spec.privacy.correlation == "tree") run.correlation = CentralRun::Correlation::kTree;
  if (spec.privacy.correlation == "banded") run.correlation = CentralRun::Correlation::kBanded;
  run.noise_multiplier = noise_multiplier;
  run.clip_norm = spec.privacy.clip_norm;
  run.values = values;
  run.rounds = spec.job.num_rounds;
  run.separation = spec.privacy.min_separation;
  run.restart = spec.privacy.tree_restart;
  return run;
}

absl::Status FillCentral(const JobPlan& plan, const RoundTerms& terms, LedgerRow& row) {
  RV_ASSIGN_OR_RETURN(const CentralRun noise, CentralRunOf(plan, terms));
  RV_ASSIGN_OR_RETURN(const uint64_t variance, noise.Variance());
  row.mechanism = DpMechanism::kCentralGaussian;
  // Of a Poisson cohort whole clients come and go; a cohort of fixed size has another in one's
  // place, and the statement is about what a client's part says, which noise hides at the same
  // cost.
  const bool drawn = plan.spec.privacy.sampling == "poisson";
  row.relation = drawn ? RelationName::kAddRemoveOne : RelationName::kZeroOut;
  row.q = SamplingOf(plan.spec);
  row.z = plan.noise_multiplier;
  row.z_delta = noise.noise_multiplier;
  row.values = noise.values;
  if (IsCorrelated(plan.spec)) {
    const bool tree = noise.correlation == CentralRun::Correlation::kTree;
    row.mechanism = tree ? DpMechanism::kTree : DpMechanism::kBanded;
    row.steps = noise.TreeRounds();
    row.max_participation = noise.Participations();
    row.min_separation = noise.separation - 1;  // rounds strictly between two
  }
  row.sigma_int = std::sqrt(static_cast<double>(variance));
  row.scale = plan.masked ? plan.masked->OfRound(terms.clip_norm).lattice().scale() : kGridSteps;
  row.norm_bound = noise.Sensitivity();
  return absl::OkStatus();
}

}  // namespace

std::string DataSetOf(const JobSpec& spec) {
  return spec.data.dataset.empty() ? spec.job.name : spec.data.dataset;
}

bool IsPrivate(const JobSpec& spec) {
  return spec.privacy.mechanism == "central" || spec.privacy.mechanism == "distributed";
}

bool IsCorrelated(const JobSpec& spec) { return spec.privacy.correlation != "none"; }

absl::StatusOr<CentralRun> CentralRunOf(const JobPlan& plan, const RoundTerms& terms) {
  CentralRun run = RunOf(plan.spec, plan.noise_multiplier, ValuesOf(plan.update_manifest()));
  run.clip_norm = terms.clip_norm;
  if (plan.masked) {
    run.values = static_cast<int64_t>(plan.masked->values());
    run.contribution = plan.masked->OfRound(terms.clip_norm).norm_bound();
  }
  if (plan.spec.privacy.adaptive_clip) {
    RV_ASSIGN_OR_RETURN(const AdaptiveClip clip, AdaptiveClipOf(plan, terms));
    RV_ASSIGN_OR_RETURN(run.noise_multiplier, clip.VectorNoiseMultiplier(plan.noise_multiplier));
  }
  return run;
}

absl::StatusOr<AdaptiveClip> AdaptiveClipOf(const JobPlan& plan, const RoundTerms& terms) {
  AdaptiveClip clip;
  RV_ASSIGN_OR_RETURN(const double expected, DenominatorOf(plan.spec, terms.invited));
  clip.expected = std::max<int64_t>(1, std::llround(expected));
  if (plan.spec.privacy.mechanism == "distributed") return clip;
  const absl::StatusOr<double> vector = clip.VectorNoiseMultiplier(plan.noise_multiplier);
  if (!vector.ok()) {
    return WithExit(Annotate(vector.status(), "privacy.adaptive-clip = true with a cohort of " +
                                                  std::to_string(clip.expected)),
                    ExitCode::kConfig);
  }
  // The lattice under masks follows the clip norm.
  if (!plan.masked) clip.most = std::min(clip.most, kMostDeviation / *vector);
  return clip;
}

absl::Status AddClipBitNoise(const JobPlan& plan, const RoundTerms& terms, const NoiseSeed& seed,
                             int64_t& bits) {
  RV_ASSIGN_OR_RETURN(const AdaptiveClip clip, AdaptiveClipOf(plan, terms));
  RV_ASSIGN_OR_RETURN(const uint64_t variance, ClipBitVariance(clip.BitSigma()));
  return AddBlockNoise(seed, "clip-bit", variance, 1, 0, {&bits, 1});
}

absl::StatusOr<double> CentralMultiplierOf(const JobSpec& spec) {
  if (spec.privacy.noise_multiplier > 0) return spec.privacy.noise_multiplier;
  if (IsCorrelated(spec)) {
    const absl::StatusOr<double> z =
        CalibrateRun(RunOf(spec, 0, 1), spec.privacy.target_epsilon, spec.privacy.target_delta);
    if (z.ok()) return *z;
    return WithExit(Annotate(z.status(), "privacy.target-epsilon"), ExitCode::kConfig);
  }
  const NoiseTarget target{spec.privacy.target_epsilon, spec.privacy.target_delta, SamplingOf(spec),
                           spec.job.num_rounds};
  const absl::StatusOr<CalibratedNoise> noise = CalibrateNoise(target);
  if (noise.ok()) return noise->sigma;
  return WithExit(Annotate(noise.status(), "privacy.target-epsilon"), ExitCode::kConfig);
}

absl::StatusOr<LedgerRow> PlannedRelease(const JobPlan& plan, const std::string& job,
                                         uint64_t round, const RoundTerms& terms) {
  LedgerRow row;
  row.job = job;
  row.data_set = DataSetOf(plan.spec);
  row.round = static_cast<int64_t>(round);
  row.clip_norm = terms.clip_norm;
  row.delta = plan.spec.privacy.target_delta;
  row.code_version = RIVULET_VERSION;
  row.vectors_sha256 = kKnownAnswersSha256;
  row.seed_commitment = std::string(64, '0');
  const bool shares = plan.spec.privacy.mechanism == "distributed";
  RV_RETURN_IF_ERROR(shares ? FillDistributed(plan, terms, row) : FillCentral(plan, terms, row));
  return row;
}

absl::StatusOr<double> DenominatorOf(const JobSpec& spec, int64_t invited) {
  if (IsCorrelated(spec) && spec.job.clients_per_round > 0) return spec.job.clients_per_round;
  if (spec.privacy.sampling != "poisson") return static_cast<double>(invited);
  return FixedDenominator(SamplingOf(spec), spec.privacy.population);
}

absl::Status CheckCohortSecret(const JobSpec& spec, std::string_view seed) {
  const bool drawn = IsPrivate(spec) && spec.privacy.sampling == "poisson";
  if (!drawn || seed.size() == sizeof(Bytes32)) return absl::OkStatus();
  return Refuse(absl::StatusCode::kDataLoss, "secret of the cohorts: got " +
                                                 std::to_string(seed.size()) +
                                                 " bytes, want 32: no cohort can be drawn");
}

absl::StatusOr<std::vector<std::string>> SecretCohort(const JobSpec& spec, std::string_view seed,
                                                      uint64_t round, uint32_t attempt,
                                                      std::span<const std::string> names) {
  RV_ASSIGN_OR_RETURN(const NoiseSeed secret, NoiseSeed::FromStored(seed));
  AesWords words = secret.Words("cohort/" + std::to_string(round) + "/" + std::to_string(attempt));
  return DrawPoissonCohort(SamplingOf(spec), names, words);
}

absl::StatusOr<LedgerRow> AnswerTo(const ReleaseQuestion& question) {
  const JobPlan& plan = *question.plan;
  RV_ASSIGN_OR_RETURN(LedgerRow row,
                      PlannedRelease(plan, question.job, question.round, question.terms));
  const PrivacySection& privacy = plan.spec.privacy;
  const BudgetLimit limit{privacy.target_epsilon, privacy.target_delta,
                          std::max<int64_t>(privacy.population, question.population)};
  RV_ASSIGN_OR_RETURN(const BudgetAnswer answer,
                      PlanRound(limit, question.rows, question.closed, row));
  row.eps_pld = answer.after.pld;
  row.eps_rdp = answer.after.rdp;
  return row;
}

}  // namespace rivulet
