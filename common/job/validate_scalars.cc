#include "common/job/validate_parts.h"

namespace rivulet {
namespace {

constexpr char kScalars[] = "scalars.enabled = true";
constexpr int64_t kMostNumbers = int64_t{1} << 22;
constexpr int64_t kMostChosen = int64_t{1} << 16;  // each is a byte of a task

// A key that is set without the section's switch, or nothing.
std::string FirstSetKey(const JobSpec& spec) {
  const ScalarsSection& scalars = spec.scalars;
  if (scalars.pool > 0) return "scalars.pool";
  if (scalars.directions > 0) return "scalars.directions";
  if (scalars.combine != "mean") return "scalars.combine";
  if (scalars.splits > 1) return "scalars.splits";
  if (scalars.target_ratio > 0) return "scalars.target-ratio";
  if (scalars.pool_choice != "uniform") return "scalars.pool-choice";
  if (scalars.drawn_from != "job") return "scalars.drawn-from";
  if (scalars.candidates > 1) return "scalars.candidates";
  if (spec.simulate.backprop_share > 0) return "simulate.backprop-share";
  return "";
}

// Most numbers of one client are 0, and all know which: draws are public.
absl::Status CheckPool(const JobSpec& spec) {
  const std::string pool = "scalars.pool = " + std::to_string(spec.scalars.pool);
  if (spec.secure_aggregation.enabled &&
      !IsAmong(spec.privacy.mechanism, {"central", "distributed"})) {
    return Clash(
        pool, kMasked,
        "most directions are drawn by one client alone, whose number is then the sum; want "
        "pool = 0, or privacy.mechanism = \"distributed\"");
  }
  if (IsAmong(spec.robust.rule, {"median", "trimmed-mean", "bulyan", "centred-clipping"})) {
    return Clash(pool, Set("robust.rule", spec.robust.rule),
                 "most clients have 0 along most directions, and so has their middle; want rule = "
                 "\"krum\" or \"norm-bound\", or pool = 0");
  }
  return absl::OkStatus();
}

absl::Status CheckNumbers(const std::string& keys, int64_t numbers) {
  if (numbers <= kMostNumbers) return absl::OkStatus();
  return BadJob(keys + ": got " + std::to_string(numbers) + " numbers of an update, want at most " +
                std::to_string(kMostNumbers));
}

// How many directions a round has must be known to all beforehand.
absl::Status CheckCount(const JobSpec& spec) {
  const ScalarsSection& scalars = spec.scalars;
  if (scalars.pool_choice != "uniform" && scalars.pool == 0) {
    return Clash(Set("scalars.pool-choice", scalars.pool_choice), "scalars.pool = 0",
                 "there is no pool to draw from; want pool >= 1, or pool-choice = \"uniform\"");
  }
  if (spec.train.estimator == "backprop") {
    if (scalars.pool > 0) {
      return Clash("scalars.pool = " + std::to_string(scalars.pool),
                   Set("train.estimator", "backprop"),
                   "projected updates have fresh directions; want pool = 0 and directions >= 1");
    }
    if (scalars.directions == 0) {
      return Clash("scalars.directions = 0", Set("train.estimator", "backprop"),
                   "want directions >= 1, or an estimator that measures");
    }
    return CheckNumbers("scalars.directions and scalars.splits",
                        int64_t{scalars.directions} * scalars.splits);
  }
  if (scalars.directions > 0) {
    return Clash(
        "scalars.directions = " + std::to_string(scalars.directions),
        Set("train.estimator", spec.train.estimator),
        "the directions are those of train.max-steps x train.queries, or of the pool; want "
        "directions = 0");
  }
  if (scalars.pool > 0) return CheckPool(spec);
  if (spec.train.max_steps == 0) {
    return Clash(kScalars, "train.max-steps = 0",
                 "every client must have the same directions; want max-steps >= 1, or a pool");
  }
  return CheckNumbers("train.max-steps, train.queries and scalars.splits",
                      int64_t{spec.train.max_steps} * spec.train.queries * scalars.splits);
}

absl::Status CheckVote(const JobSpec& spec) {
  if (spec.scalars.combine != "vote") return absl::OkStatus();
  const std::string vote = Set("scalars.combine", "vote");
  if (!IsAmong(spec.train.estimator, {"central", "one-sided", "forward"})) {
    return Clash(vote, Set("train.estimator", spec.train.estimator),
                 "votes are signs of slopes; want estimator = \"central\", \"one-sided\" or "
                 "\"forward\"");
  }
  if (spec.scalars.splits > 1) {
    return Clash(vote, "scalars.splits = " + std::to_string(spec.scalars.splits),
                 "want splits = 1");
  }
  if (spec.scalars.pool > 0) {
    return Clash(vote, "scalars.pool = " + std::to_string(spec.scalars.pool),
                 "votes are cast on fresh directions; want pool = 0");
  }
  if (spec.strategy.weighting != "uniform") {
    return Clash(vote, Set("strategy.weighting", spec.strategy.weighting),
                 "a client has one vote, whatever it says of its data; want weighting = "
                 "\"uniform\"");
  }
  if (spec.train.queries > 1) {
    return Clash(vote, "train.queries = " + std::to_string(spec.train.queries),
                 "a step is one vote; want queries = 1");
  }
  if (spec.train.lr_scheduler_type != "constant" || spec.train.warmup_ratio > 0) {
    return Clash(vote,
                 Set("train.lr-scheduler-type", spec.train.lr_scheduler_type) +
                     " and train.warmup-ratio = " + NumberText(spec.train.warmup_ratio),
                 "the state moves by one rate; want \"constant\" and 0.0");
  }
  return absl::OkStatus();
}

absl::Status CheckSplits(const JobSpec& spec) {
  if (spec.scalars.splits == 1) return absl::OkStatus();
  const std::string splits = "scalars.splits = " + std::to_string(spec.scalars.splits);
  if (spec.scalars.pool > 0) {
    return Clash(splits, "scalars.pool = " + std::to_string(spec.scalars.pool), "want pool = 0");
  }
  if (spec.robust.rule != "none") {
    return Clash(splits, Set("robust.rule", spec.robust.rule),
                 "clients move different tensors and cannot be compared; want rule = \"none\"");
  }
  if (spec.secure_aggregation.enabled) {
    return Clash(
        splits, kMasked,
        "all know who moves which tensors, and a part may have a single owner; want splits "
        "= 1");
  }
  if (spec.privacy.mechanism != "none") {
    return Clash(splits, Set("privacy.mechanism", spec.privacy.mechanism),
                 "noise is scaled to sums of all clients, not to a part's owners; want splits = 1");
  }
  return absl::OkStatus();
}

bool SharesFactors(const TrainSection& train) {
  return IsAmong(train.direction, {"flipped", "subspace"}) ||
         (train.direction == "low-rank" && train.direction_renewal > 1);
}

constexpr char kWantFresh[] =
    "want direction = \"rademacher\", \"gauss\", or \"low-rank\" with direction-renewal = 1";

absl::Status CheckWaiting(const JobSpec& spec) {
  const ScalarsSection& scalars = spec.scalars;
  if (scalars.target_ratio == 0) return absl::OkStatus();
  const std::string ratio = "scalars.target-ratio = " + NumberText(scalars.target_ratio);
  if (scalars.target_ratio <= 1) {
    return BadJob("scalars.target-ratio: got " + NumberText(scalars.target_ratio) +
                  ", want more than 1, which a single direction has, or 0");
  }
  if (!IsAmong(spec.train.estimator, {"central", "one-sided", "forward"}) ||
      spec.train.max_steps != 1) {
    return Clash(ratio,
                 Set("train.estimator", spec.train.estimator) +
                     " and train.max-steps = " + std::to_string(spec.train.max_steps),
                 "what is waited for is measured where the global state is; want estimator = "
                 "\"central\", \"one-sided\" or \"forward\", and max-steps = 1");
  }
  if (scalars.pool > 0 || scalars.splits > 1 || scalars.combine != "mean") {
    return BadJob(ratio + " with a pool, splits or votes: want none of them");
  }
  if (SharesFactors(spec.train)) {
    return Clash(ratio, DirectionText(spec.train),
                 std::string("directions that share factors point into a part of the space, where "
                             "chance makes a larger ratio; ") +
                     kWantFresh);
  }
  if (spec.strategy.name != "fedavg") {
    return Clash(ratio, Set("strategy.name", spec.strategy.name), "want name = \"fedavg\"");
  }
  if (spec.privacy.mechanism != "none") {
    return Clash(ratio, Set("privacy.mechanism", spec.privacy.mechanism),
                 "its noise would be waited out; want target-ratio = 0.0");
  }
  return absl::OkStatus();
}

// A session is of one attempt at one sum.
absl::Status CheckSession(const JobSpec& spec) {
  if (spec.scalars.drawn_from != "session") return absl::OkStatus();
  const std::string session = Set("scalars.drawn-from", "session");
  if (!spec.secure_aggregation.enabled) {
    return Clash(session, "secure-aggregation.enabled = false",
                 "there is no session; want enabled = true, or drawn-from = \"job\"");
  }
  if (spec.scalars.pool > 0) {
    return Clash(session, "scalars.pool = " + std::to_string(spec.scalars.pool),
                 "a pool is of the whole job; want pool = 0, or drawn-from = \"job\"");
  }
  if (spec.robust.groups > 0) {
    return Clash(session, "robust.groups = " + std::to_string(spec.robust.groups),
                 "every group has a session, and directions, of its own; want groups = 0, or "
                 "drawn-from = \"job\"");
  }
  return absl::OkStatus();
}

// The coordinator chooses, by what the log says of the last movement.
absl::Status CheckCandidates(const JobSpec& spec) {
  const ScalarsSection& scalars = spec.scalars;
  const TrainSection& train = spec.train;
  if (scalars.candidates == 1) return absl::OkStatus();
  const std::string candidates = "scalars.candidates = " + std::to_string(scalars.candidates);
  if (!IsAmong(train.estimator, {"central", "one-sided", "forward", "fzoo"})) {
    return Clash(candidates, Set("train.estimator", train.estimator),
                 "there are no queries to choose directions for; want estimator = \"central\", "
                 "\"one-sided\", \"forward\" or \"fzoo\", or candidates = 1");
  }
  if (scalars.pool > 0) {
    return Clash(candidates, "scalars.pool = " + std::to_string(scalars.pool),
                 "clients draw from a pool for themselves; want pool = 0, or candidates = 1");
  }
  if (scalars.splits > 1) {
    return Clash(candidates, "scalars.splits = " + std::to_string(scalars.splits),
                 "a direction is another one in every part; want splits = 1, or candidates = 1");
  }
  if (SharesFactors(train)) {
    return Clash(candidates, DirectionText(train),
                 std::string("candidates that share factors are alike; ") + kWantFresh);
  }
  if (spec.strategy.name != "fedavg") {
    return Clash(
        candidates, Set("strategy.name", spec.strategy.name),
        "the last movement is read from the log; want name = \"fedavg\", or candidates = 1");
  }
  if (spec.secure_aggregation.enabled) {
    return Clash(candidates, kMasked,
                 "the coordinator would choose the directions that it learns sums along; want "
                 "candidates = 1");
  }
  if (const int64_t chosen = int64_t{train.max_steps} * train.queries; chosen > kMostChosen) {
    return Clash(candidates, "train.max-steps x train.queries = " + std::to_string(chosen),
                 "want at most " + std::to_string(kMostChosen) + " directions, or candidates = 1");
  }
  return absl::OkStatus();
}

// An update of coefficients goes through the codecs that treat every number alike.
absl::Status CheckUpload(const JobSpec& spec) {
  const CompressionSection& compression = spec.compression;
  const std::string codec = Set("compression.codec", compression.codec);
  if (!IsAmong(compression.codec, {"none", "bf16", "fp16", "int8", "int4", "int2", "sign"})) {
    return Clash(codec, kScalars,
                 "not built for coefficients; want codec = \"none\", \"bf16\" or \"int8\"");
  }
  if (compression.codec == "sign" && spec.scalars.pool == 0 && compression.error_feedback) {
    return Clash(codec, "compression.error-feedback = true",
                 "the next round has other directions; want error-feedback = false");
  }
  if (spec.privacy.correlation != "none" && spec.scalars.pool == 0) {
    return Clash(Set("privacy.correlation", spec.privacy.correlation), "scalars.pool = 0",
                 "noise of one round cannot cancel along directions of another; want correlation = "
                 "\"none\"");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckScalars(const JobSpec& spec) {
  const ScalarsSection& scalars = spec.scalars;
  if (!scalars.enabled) {
    const std::string key = FirstSetKey(spec);
    return key.empty() ? absl::OkStatus()
                       : Clash(key, "scalars.enabled = false", "want enabled = true");
  }
  if (spec.train.estimator == "cma-es") {
    return Clash(kScalars, Set("train.estimator", "cma-es"),
                 "a search moves by the order of losses, not along directions that all draw; want "
                 "another estimator, or enabled = false");
  }
  if (spec.train.learning_rate == 0) {
    return Clash(kScalars, "train.learning-rate = 0.0",
                 "coefficients are in units of it; want learning-rate > 0");
  }
  if (spec.privacy.mechanism == "example") {
    return Clash(kScalars, Set("privacy.mechanism", "example"),
                 "its noise is in the gradient of every trained number; want mechanism = "
                 "\"central\" or \"distributed\"");
  }
  if ((scalars.pool > 0 || scalars.combine == "vote") && spec.strategy.name != "fedavg") {
    return Clash(scalars.pool > 0 ? "scalars.pool = " + std::to_string(scalars.pool)
                                  : Set("scalars.combine", scalars.combine),
                 Set("strategy.name", spec.strategy.name),
                 scalars.pool > 0
                     ? "the state is rebuilt from sums of coefficients; want name = \"fedavg\""
                     : "the state moves by the learning rate alone; want name = \"fedavg\"");
  }
  if (spec.simulate.backprop_share > 0 &&
      !IsAmong(spec.train.estimator, {"central", "one-sided", "forward"})) {
    return Clash("simulate.backprop-share = " + NumberText(spec.simulate.backprop_share),
                 Set("train.estimator", spec.train.estimator),
                 "a gradient has the slopes of \"central\", \"one-sided\" and \"forward\" alone; "
                 "want one of "
                 "them");
  }
  RV_RETURN_IF_ERROR(CheckCount(spec));
  RV_RETURN_IF_ERROR(CheckVote(spec));
  RV_RETURN_IF_ERROR(CheckSplits(spec));
  RV_RETURN_IF_ERROR(CheckWaiting(spec));
  RV_RETURN_IF_ERROR(CheckSession(spec));
  RV_RETURN_IF_ERROR(CheckCandidates(spec));
  return CheckUpload(spec);
}

}  // namespace rivulet
