#include "aggregation/robust/suspicion.h"

#include <algorithm>
#include <cmath>

#include "aggregation/robust/batch.h"
#include "aggregation/robust/median_of.h"

namespace rivulet {
namespace {

absl::Status BadSuspicion(const std::string& message) {
  return Refuse(absl::StatusCode::kInvalidArgument, "suspicion: " + message);
}

absl::Status CheckSuspicion(const SuspicionSettings& settings) {
  if (settings.rounds < 2 || settings.rounds > 10000) {
    return BadSuspicion("got " + std::to_string(settings.rounds) + " rounds, want 2 .. 10000");
  }
  if (!(settings.false_alarm > 0) || !(settings.false_alarm < 1)) {
    return BadSuspicion("got a false alarm of " + std::to_string(settings.false_alarm) +
                        ", want a number between 0 and 1");
  }
  return absl::OkStatus();
}

// The probability that hits - rate * rounds reaches `threshold` in at most `rounds` rounds.
double AlarmProbability(double rate, int rounds, double threshold) {
  std::vector<double> by_hits(static_cast<size_t>(rounds) + 1);
  by_hits[0] = 1;
  double alarm = 0;
  for (int round = 1; round <= rounds; ++round) {
    for (int hits = round; hits >= 0; --hits) {
      double& here = by_hits[static_cast<size_t>(hits)];
      here *= 1 - rate;
      if (hits > 0) here += by_hits[static_cast<size_t>(hits) - 1] * rate;
      if (hits - rate * round >= threshold) {
        alarm += here;
        here = 0;
      }
    }
  }
  return alarm;
}

}  // namespace

absl::StatusOr<std::vector<double>> DistancesTo(const ParameterSet& centre,
                                                const std::vector<UpdateView>& updates,
                                                int threads) {
  RobustContext context;
  context.manifest = &centre.manifest();
  context.threads = threads;
  for (const TensorSpec& spec : centre.manifest()) {
    if (spec.dtype != DType::kF32) return BadSuspicion("got " + Describe(spec) + ", want F32");
  }
  RV_ASSIGN_OR_RETURN(const UpdateBatch batch, UpdateBatch::Make({}, updates, context));
  std::vector<double> distances = batch.SquaredDistancesTo({&centre, 1.0, {}});
  RV_RETURN_IF_ERROR(batch.CheckNumbers(distances));
  for (double& distance : distances) distance = std::sqrt(distance);
  return distances;
}

std::vector<bool> FarOnes(std::span<const double> distances, double ratio) {
  std::vector<bool> far(distances.size());
  if (distances.empty()) return far;
  const double limit = ratio * MedianOf(distances);
  for (size_t at = 0; at < distances.size(); ++at) far[at] = !(distances[at] <= limit);
  return far;
}

absl::StatusOr<double> SuspicionThreshold(double rate, const SuspicionSettings& settings) {
  RV_RETURN_IF_ERROR(CheckSuspicion(settings));
  if (!(rate >= 0) || !(rate <= 1)) {
    return BadSuspicion("got a rate of " + std::to_string(rate) + ", want 0 .. 1");
  }
  double low = 1, high = settings.rounds + 1.0;
  if (AlarmProbability(rate, settings.rounds, low) <= settings.false_alarm) return low;
  while (high - low > 1e-3) {
    const double middle = (low + high) / 2;
    (AlarmProbability(rate, settings.rounds, middle) <= settings.false_alarm ? high : low) = middle;
  }
  return high;
}

absl::StatusOr<SuspicionLedger> SuspicionLedger::Make(const SuspicionSettings& settings,
                                                      SuspicionEntries entries) {
  RV_RETURN_IF_ERROR(CheckSuspicion(settings));
  for (const auto& [client, entry] : entries) {
    const bool sensible = entry.rounds >= 0 && entry.rounds <= settings.rounds &&
                          std::fabs(entry.score) <= settings.rounds && entry.rate >= 0 &&
                          entry.rate <= 1;
    if (sensible) continue;
    return BadSuspicion(client + ": got a score of " + std::to_string(entry.score) + " after " +
                        std::to_string(entry.rounds) + " rounds at a rate of " +
                        std::to_string(entry.rate) + ", want at most " +
                        std::to_string(settings.rounds) + " rounds and a rate of 0 .. 1");
  }
  return SuspicionLedger(settings, std::move(entries));
}

double SuspicionLedger::ThresholdFor(double rate) {
  rate = std::min(rate, 0.5);
  const auto known = thresholds_.find(rate);
  if (known != thresholds_.end()) return known->second;
  const double threshold = *SuspicionThreshold(rate, settings_);  // both were checked
  thresholds_.emplace(rate, threshold);
  return threshold;
}

absl::StatusOr<std::vector<std::string>> SuspicionLedger::Record(
    std::span<const std::vector<std::string>> groups, const std::vector<bool>& suspicious) {
  if (groups.empty() || groups.size() != suspicious.size()) {
    return BadSuspicion("got " + std::to_string(groups.size()) + " groups and " +
                        std::to_string(suspicious.size()) + " words about them, want as many");
  }
  const auto bad = std::count(suspicious.begin(), suspicious.end(), true);
  const double rate = static_cast<double>(bad) / static_cast<double>(groups.size());
  std::vector<std::string> excluded;
  for (size_t group = 0; group < groups.size(); ++group) {
    for (const std::string& client : groups[group]) {
      SuspicionEntry& entry = entries_[client];
      if (entry.excluded) continue;
      if (entry.rounds == settings_.rounds) entry = {};
      ++entry.rounds;
      entry.score += (suspicious[group] ? 1.0 : 0.0) - rate;
      entry.rate = std::max(entry.rate, rate);
      if (entry.rounds < 2 || entry.score < ThresholdFor(entry.rate)) continue;
      entry.excluded = true;
      excluded.push_back(client);
    }
  }
  std::sort(excluded.begin(), excluded.end());
  return excluded;
}

double SuspicionLedger::ScoreOf(const std::string& client) const {
  const auto found = entries_.find(client);
  return found == entries_.end() ? 0 : found->second.score;
}

bool SuspicionLedger::Excluded(const std::string& client) const {
  const auto found = entries_.find(client);
  return found != entries_.end() && found->second.excluded;
}

}  // namespace rivulet
