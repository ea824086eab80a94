#include "coordinator/rounds/decoded_mean.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "aggregation/fixed_point_sum.h"
#include "aggregation/robust/rule.h"
#include "aggregation/scale.h"
#include "common/scalars/vote.h"
#include "coordinator/rounds/update_file.h"

namespace rivulet {
namespace {

// It starts at the mean, which a single liar moves as far as it likes: the usual three steps do not
// bring it back from there.
constexpr int kWeiszfeldSteps = 8;

RobustSettings RobustSettingsOf(const RobustSection& robust) {
  RobustSettings settings;
  settings.rule = robust.rule;
  settings.f = static_cast<uint32_t>(robust.faulty);
  if (robust.rule == "norm-bound") settings.f = 0;  // as many as there are
  if (robust.rule == "geometric-median") settings.iterations = kWeiszfeldSteps;
  const bool radius = robust.rule == "centred-clipping";
  (radius ? settings.tau : settings.clip) = robust.norm_bound;
  return settings;
}

// Whether it was too long.
bool ScaleDown(double bound, ParameterSet& update) {
  const double norm = DistanceOf(update, nullptr);
  if (norm <= bound) return false;
  Scale(bound / norm, update);
  return true;
}

absl::StatusOr<RoundMean> WeightedMean(const BlobStore& blobs, const JobPlan& plan,
                                       const CodedRound* coded,
                                       const std::vector<UpdateRecord>& updates) {
  RV_ASSIGN_OR_RETURN(FixedPointSum sum, FixedPointSum::Make(plan.update_manifest()));
  RoundMean result;
  ParameterSet update(plan.update_manifest());
  for (const UpdateRecord& record : updates) {
    RV_RETURN_IF_ERROR(ReadUpdate(blobs, plan, coded, record, update));
    if (plan.spec.robust.rule == "norm-bound") {
      result.scaled += ScaleDown(plan.spec.robust.norm_bound, update);
    }
    const absl::Status added = sum.Add(update, record.weight);
    if (!added.ok()) return Annotate(added, "update of " + record.client);
  }
  RV_ASSIGN_OR_RETURN(result.mean, sum.Mean());
  return result;
}

absl::Status CheckMemory(size_t updates, const Manifest& manifest, const std::string& rule) {
  const uint64_t memory = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                          static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
  const uint64_t want = updates * SizeBytesOf(manifest);
  if (want <= memory / 2) return absl::OkStatus();
  return WithExit(
      Refuse(absl::StatusCode::kFailedPrecondition,
             "robust.rule " + rule + ": got " + std::to_string(updates) + " updates of together " +
                 std::to_string(want) + " bytes, want at most half of this machine's memory, " +
                 std::to_string(memory / 2) + "; norm-bound needs one at a time"),
      ExitCode::kResource);
}

// Centred clipping starts at the median of each coordinate: that no liar can move far, and it needs
// nothing but the round's own updates. Without a radius it is the median distance to there.
absl::StatusOr<ParameterSet> StartOf(const std::vector<UpdateView>& views,
                                     const std::vector<ParameterSet>& updates,
                                     const RobustContext& context, RobustSettings& settings) {
  RobustSettings median;
  median.rule = "median";
  median.f = settings.f;
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<RobustRule> rule, MakeRobustRule(median));
  RV_ASSIGN_OR_RETURN(RobustResult start, rule->Aggregate(views, context));
  if (settings.tau > 0) return std::move(start.mean);
  std::vector<double> distances;
  for (const ParameterSet& update : updates) {
    distances.push_back(DistanceOf(update, &start.mean));
  }
  const auto middle = distances.begin() + static_cast<ptrdiff_t>(distances.size() / 2);
  std::nth_element(distances.begin(), middle, distances.end());
  settings.tau = std::max(*middle, 1e-12);  // all equal: any radius will do
  return std::move(start.mean);
}

absl::StatusOr<RobustResult> ApplyRule(const JobPlan& plan,
                                       const std::vector<ParameterSet>& updates,
                                       std::span<const int64_t> weights,
                                       const ParameterSet* trusted) {
  RobustSettings settings = RobustSettingsOf(plan.spec.robust);
  RobustContext context;
  context.manifest = &plan.update_manifest();
  if (settings.rule == "norm-bound") context.weights = weights;
  std::vector<UpdateView> views;
  for (const ParameterSet& update : updates) views.push_back(ViewOf(update));
  UpdateView root;
  if (trusted != nullptr) {
    root = ViewOf(*trusted);
    context.root = &root;
  }
  ParameterSet start;
  if (settings.rule == "centred-clipping") {
    RV_ASSIGN_OR_RETURN(start, StartOf(views, updates, context, settings));
    context.previous = &start;
  }
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<RobustRule> rule, MakeRobustRule(settings));
  return rule->Aggregate(views, context);
}

}  // namespace

bool NeedsDecodedMean(const JobSpec& spec) { return IsCoded(spec) || spec.robust.rule != "none"; }

absl::Status ReadUpdate(const BlobStore& blobs, const JobPlan& plan, const CodedRound* coded,
                        const UpdateRecord& update, ParameterSet& out) {
  const auto read = [&]() -> absl::Status {
    if (coded == nullptr) {
      RV_ASSIGN_OR_RETURN(out, ReadOwnState(blobs, update.sha256, plan.update_manifest()));
      return absl::OkStatus();
    }
    RV_ASSIGN_OR_RETURN(const std::string payload, blobs.Get(update.sha256, update.bytes));
    return coded->Decode(payload, out);
  };
  absl::Status done = read();
  // What a payload says beyond a vote, such as a scale of the client's own, does not count.
  if (done.ok() && plan.scalars && plan.scalars->votes()) {
    std::ranges::transform(out.floats(0), out.floats(0).begin(), VoteOf);
  }
  return done.ok() ? done : Annotate(done, "update of " + update.client);
}

absl::StatusOr<RoundMean> DecodedMean(const BlobStore& blobs, const JobPlan& plan,
                                      const CodedRound* coded,
                                      const std::vector<UpdateRecord>& updates) {
  const std::string& rule = plan.spec.robust.rule;
  if (rule == "none" || rule == "norm-bound") return WeightedMean(blobs, plan, coded, updates);
  RV_RETURN_IF_ERROR(CheckMemory(updates.size(), plan.update_manifest(), rule));
  std::vector<ParameterSet> sets;
  std::vector<std::string> clients;  // whose they are
  std::optional<ParameterSet> trusted;
  for (const UpdateRecord& record : updates) {
    ParameterSet update(plan.update_manifest());
    RV_RETURN_IF_ERROR(ReadUpdate(blobs, plan, coded, record, update));
    if (record.client == plan.spec.robust.trusted_client) {
      trusted = std::move(update);
      continue;
    }
    sets.push_back(std::move(update));
    clients.push_back(record.client);
  }
  absl::StatusOr<RuledMean> ruled = RobustMean(plan, sets, {}, trusted ? &*trusted : nullptr);
  RoundMean result;
  if (ruled.status().code() == absl::StatusCode::kAborted) {  // nobody is to be trusted
    result.left_out = std::move(clients);
    return result;
  }
  RV_RETURN_IF_ERROR(ruled.status());
  result.mean = std::move(ruled->mean);
  result.scaled = ruled->scaled;
  for (size_t each = 0; each < clients.size(); ++each) {
    if (!ruled->kept[each]) result.left_out.push_back(clients[each]);
  }
  return result;
}

absl::StatusOr<RuledMean> RobustMean(const JobPlan& plan, const std::vector<ParameterSet>& updates,
                                     std::span<const int64_t> weights,
                                     const ParameterSet* trusted) {
  absl::StatusOr<RobustResult> robust = ApplyRule(plan, updates, weights, trusted);
  if (!robust.ok()) return Annotate(robust.status(), "robust.rule " + plan.spec.robust.rule);
  RuledMean result;
  result.mean = std::move(robust->mean);
  for (const UpdateVerdict& verdict : robust->verdicts) {
    result.kept.push_back(verdict.kept);
    result.scaled += verdict.factor < 1;
  }
  return result;
}

absl::Status CheckRobustRule(const JobSpec& spec) {
  if (spec.robust.rule == "none") return absl::OkStatus();
  RobustSettings settings = RobustSettingsOf(spec.robust);
  if (settings.rule == "centred-clipping" && settings.tau == 0)
    settings.tau = 1;  // StartOf sets it
  const auto rule = MakeRobustRule(settings);
  return rule.ok() ? absl::OkStatus()
                   : WithExit(Annotate(rule.status(), "robust"), ExitCode::kConfig);
}

}  // namespace rivulet
