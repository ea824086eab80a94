#include "common/job/target_cosine.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "common/job/validate_parts.h"

namespace rivulet {
namespace {

constexpr double kMostQueries = 65536;  // as train.queries

std::string TargetOf(const JobSpec& spec) {
  return "train.target-cosine = " + NumberText(spec.train.target_cosine);
}

// Directions of a round are those of the job: every client measures along the same.
bool AreShared(const JobSpec& spec) { return spec.scalars.enabled; }

absl::StatusOr<int> QueriesOf(int64_t trained, const JobSpec& spec) {
  const double directions = DirectionsFor(trained, spec.train.target_cosine);
  const int clients = AreShared(spec) ? 1 : spec.job.clients_per_round;
  const double queries =
      std::ceil(directions / (static_cast<double>(spec.train.max_steps) * clients));
  if (queries <= kMostQueries) {
    const int least = spec.train.estimator == "fzoo" ? 2 : 1;
    return std::max(least, static_cast<int>(queries));
  }
  return BadJob(TargetOf(spec) + ": got " + NumberText(directions) + " directions for " +
                std::to_string(trained) + " trained numbers, " + NumberText(queries) +
                " a step and client; want at most " + NumberText(kMostQueries) +
                ": a smaller target, fewer trained numbers, or more train.max-steps" +
                (AreShared(spec) ? "" : " or job.clients-per-round"));
}

}  // namespace

double DirectionsFor(int64_t dimensions, double cosine) {
  const double square = cosine * cosine;
  return std::ceil(static_cast<double>(dimensions) * square / (1 - square));
}

absl::Status FillQueries(int64_t trained, JobSpec& spec) {
  if (spec.train.target_cosine == 0) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(const int queries, QueriesOf(trained, spec));
  if (spec.train.queries != TrainSection{}.queries && spec.train.queries != queries) {
    return Clash(TargetOf(spec), "train.queries = " + std::to_string(spec.train.queries),
                 "the target asks for " + std::to_string(queries) + " queries along " +
                     std::to_string(trained) + " trained numbers; want one of the two keys");
  }
  spec.train.queries = queries;
  return spec.Validate();
}

absl::Status CheckQueries(int64_t trained, const JobSpec& spec) {
  if (spec.train.target_cosine == 0) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(const int queries, QueriesOf(trained, spec));
  if (spec.train.queries == queries) return absl::OkStatus();
  return BadJob("train.queries: got " + std::to_string(spec.train.queries) + ", want " +
                std::to_string(queries) + ", which " + TargetOf(spec) + " asks for");
}

absl::Status CheckTargetCosine(const JobSpec& spec) {
  const TrainSection& train = spec.train;
  if (train.target_cosine == 0) return absl::OkStatus();
  const std::string target = TargetOf(spec);
  if (IsAmong(train.estimator, {"backprop", "cma-es", "grzo"})) {
    return Clash(target, Set("train.estimator", train.estimator),
                 "there are no queries to choose; want an estimator that measures slopes, or "
                 "target-cosine = 0.0");
  }
  if (train.direction == "subspace" ||
      (train.direction == "low-rank" && train.direction_renewal > 1)) {
    return Clash(target, DirectionText(train),
                 "directions that share factors see a part of the gradient, however many there "
                 "are; want direction = \"rademacher\" or \"gauss\"");
  }
  if (train.max_steps == 0) {
    return Clash(target, "train.max-steps = 0",
                 "how many steps a round has must be known; want max-steps >= 1");
  }
  if (!AreShared(spec) && spec.job.clients_per_round == 0) {
    return Clash(target, "job.clients-per-round = 0",
                 "each client has directions of its own, and how many clients a round has must be "
                 "known; want clients-per-round >= 1");
  }
  if (spec.scalars.pool > 0 || spec.scalars.splits > 1 || spec.scalars.combine != "mean") {
    return BadJob(target +
                  " with a pool, splits or votes: draws from a pool repeat directions, and a part "
                  "or a vote is no estimate of the gradient; want none of them");
  }
  return absl::OkStatus();
}

}  // namespace rivulet
