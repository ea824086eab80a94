#include "coordinator/rounds/averaged_state.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>
#include <vector>

#include "aggregation/scalars/scalar_replay.h"
#include "coordinator/rounds/snapshots.h"
#include "coordinator/rounds/update_file.h"

namespace rivulet {
namespace {

constexpr char kUnstored[] = "unstored";

absl::Status Lost(const std::string& what) {
  return WithExit(Refuse(absl::StatusCode::kDataLoss, "average of the global states: " + what),
                  ExitCode::kState);
}

// As RoundEngine has it, but for the end of a round that was lost: who then lacks the file waits
// for it.
bool IsEvaluated(const JobSpec& spec, uint64_t round) {
  const auto every = static_cast<uint64_t>(std::max(spec.evaluate.every, 0));
  return round == static_cast<uint64_t>(spec.job.num_rounds) || (every > 0 && round % every == 0);
}

std::vector<std::string_view> WordsOf(std::string_view text) {
  std::vector<std::string_view> words;
  while (true) {
    const size_t space = text.find(' ');
    words.push_back(text.substr(0, space));
    if (space == text.npos) return words;
    text.remove_prefix(space + 1);
  }
}

std::optional<uint64_t> NumberOf(std::string_view word) {
  uint64_t number = 0;
  const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || stop != word.data() + word.size()) return std::nullopt;
  return number;
}

std::optional<AveragedState> Parsed(const std::vector<std::string_view>& words) {
  if (words.size() < 2 || words[0].size() != 64) return std::nullopt;
  const std::optional<uint64_t> bytes = NumberOf(words[1]);
  if (!bytes) return std::nullopt;
  AveragedState average{std::string(words[0]), *bytes};
  size_t at = 2;
  if (at < words.size() && words[at] == kUnstored) average.stored = false, ++at;
  for (; at + 1 < words.size(); at += 2) {
    const std::optional<uint64_t> round = NumberOf(words[at]);
    if (!round || words[at + 1].size() != 64) return std::nullopt;
    average.kept[*round] = words[at + 1];
  }
  return at == words.size() ? std::optional(average) : std::nullopt;
}

}  // namespace

AveragedState FirstAverage(const ModelRecord& initial) {
  return {initial.sha256, initial.bytes, true, {{0, initial.sha256}}};
}

std::set<std::string> BlobsOf(const AveragedState& average) {
  std::set<std::string> blobs;
  if (average.stored) blobs.insert(average.sha256);
  for (const auto& [round, sha256] : average.kept) blobs.insert(sha256);
  return blobs;
}

bool IsKeptBeside(const std::optional<AveragedState>& average,
                  const std::map<uint64_t, ModelRecord>& models, const ModelRecord& state) {
  if (!average) return state.sha256 == models.begin()->second.sha256;  // no round has moved yet
  const auto later = average->kept.upper_bound(state.round);
  if (later == average->kept.begin()) return false;
  const auto kept = models.find(std::prev(later)->first);
  return kept != models.end() && kept->second.sha256 == state.sha256;
}

// A round that was lost has the state, and the average, of the one before.
absl::StatusOr<std::string> KeptBeside(const AveragedState& average, const ModelRecord& snapshot) {
  const auto later = average.kept.upper_bound(snapshot.round);
  if (later != average.kept.begin()) return std::prev(later)->second;
  return Lost("none is kept beside the state of round " + std::to_string(snapshot.round));
}

absl::StatusOr<ParameterSet> ReadAverage(const BlobStore& blobs, const JobPlan& plan,
                                         AverageBefore before) {
  if (before.values) return *std::move(before.values);
  const AveragedState& average = before.average;
  if (average.stored) return ReadOwnState(blobs, average.sha256, plan.manifest);
  RV_ASSIGN_OR_RETURN(const std::string kept, KeptBeside(average, before.snapshot));
  MovingAverage moving{plan.spec.evaluate.ema};
  RV_ASSIGN_OR_RETURN(moving.values, ReadOwnState(blobs, kept, plan.manifest));
  RV_RETURN_IF_ERROR(ReadState(blobs, plan, before.snapshot, before.model, &moving).status());
  ModelRecord made;
  NameState(moving.values, made);
  if (made.sha256 == average.sha256) return std::move(moving.values);
  return Lost("made of that of round " + std::to_string(before.snapshot.round) +
              " and the log, got " + made.sha256 + ", want " + average.sha256);
}

absl::Status NextAverage(BlobStore& blobs, const JobPlan& plan, AverageBefore before,
                         AggregatedRound& result) {
  const bool logged = KeepsAverage(plan.spec);
  const bool moved = !logged || PositionOf(plan, result.model) != PositionOf(plan, before.model);
  AveragedState next = before.average;
  MovingAverage average{plan.spec.evaluate.ema};
  RV_ASSIGN_OR_RETURN(average.values, ReadAverage(blobs, plan, std::move(before)));
  if (moved) average.Follow(result.state);
  next.stored = !logged || result.stored || IsEvaluated(plan.spec, result.model.round);
  ModelRecord file;
  if (next.stored) {
    RV_RETURN_IF_ERROR(StoreState(blobs, average.values, file));
  } else {
    NameState(average.values, file);
  }
  next.sha256 = file.sha256;
  next.bytes = file.bytes;
  if (!logged) next.kept.clear();
  if (logged && result.stored) next.kept = {{result.model.round, next.sha256}};
  result.average = std::move(next);
  if (logged) result.average_values = std::move(average.values);
  return absl::OkStatus();
}

absl::StatusOr<AveragedState> StoreAverage(BlobStore& blobs, const JobPlan& plan,
                                           AverageBefore before) {
  AveragedState next = before.average;
  const uint64_t round = before.model.round;
  if (!next.stored) {
    RV_ASSIGN_OR_RETURN(const ParameterSet values, ReadAverage(blobs, plan, std::move(before)));
    ModelRecord file;
    RV_RETURN_IF_ERROR(StoreState(blobs, values, file));
    next.stored = true;
  }
  next.kept[round] = next.sha256;
  return next;
}

std::string TextOf(const AveragedState& average) {
  std::string text = average.sha256 + " " + std::to_string(average.bytes);
  if (!average.stored) text += std::string(" ") + kUnstored;
  for (const auto& [round, sha256] : average.kept) {
    text += " " + std::to_string(round) + " " + sha256;
  }
  return text;
}

absl::StatusOr<AveragedState> AveragedStateFrom(std::string_view text) {
  if (std::optional<AveragedState> average = Parsed(WordsOf(text))) return *std::move(average);
  return Lost("got '" + std::string(text.substr(0, 100)) +
              "', want a hash of 64 hex digits, a number of bytes, and what is kept");
}

}  // namespace rivulet
