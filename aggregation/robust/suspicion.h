#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "aggregation/fixed_point_sum.h"
#include "common/status.h"

namespace rivulet {

// Who spoils the groups? A suspicious group casts suspicion on all its members, but the groups are
// new in every round: an honest client is in one as often as anybody, a bad one always.

// |x_i - centre|_2 for every update. Errors: InvalidArgument for shapes that differ, or a value
// that is not finite.
absl::StatusOr<std::vector<double>> DistancesTo(const ParameterSet& centre,
                                                const std::vector<UpdateView>& updates,
                                                int threads = 0);

// Whether each distance is above `ratio` times their median (mean of the middle two).
std::vector<bool> FarOnes(std::span<const double> distances, double ratio = 3);

struct SuspicionSettings {
  int rounds = 100;           // scores start anew after so many of a client's rounds; 2 .. 10000
  double false_alarm = 1e-3;  // probability that an honest client is excluded in them; (0, 1)
};

// The smallest score, to 1e-3, that a client passes with at most the false-alarm probability at any
// time in those rounds when its group is suspicious with probability `rate` in each: exact, by the
// distribution of the walk hits - rate * rounds. At least 1, so that no single round excludes.
// Errors: InvalidArgument for settings out of range or a rate outside [0, 1].
absl::StatusOr<double> SuspicionThreshold(double rate, const SuspicionSettings& settings);

// What is known of one client; to be kept over a restart.
struct SuspicionEntry {
  int rounds = 0;  // counted, of SuspicionSettings::rounds
  double score = 0;
  double rate = 0;  // the largest share of suspicious groups among those rounds
  bool excluded = false;

  bool operator==(const SuspicionEntry&) const = default;
};
using SuspicionEntries = std::map<std::string, SuspicionEntry>;  // by client

// Keeps score_u += [u's group is suspicious] - (share of groups that are): 0 on average for an
// honest client. Excludes at SuspicionThreshold for the largest share seen so far in the client's
// count, but no more than 1/2, where the walk is widest. Not thread safe.
class SuspicionLedger {
 public:
  // Errors: InvalidArgument naming the setting out of range, or the client whose entry is.
  static absl::StatusOr<SuspicionLedger> Make(const SuspicionSettings& settings,
                                              SuspicionEntries entries = {});

  // One round. Returns who is excluded from now on, in byte order.
  // Errors: InvalidArgument when there are no groups or not one word for each; nothing has changed.
  absl::StatusOr<std::vector<std::string>> Record(std::span<const std::vector<std::string>> groups,
                                                  const std::vector<bool>& suspicious);

  double ScoreOf(const std::string& client) const;  // 0 when never seen
  bool Excluded(const std::string& client) const;

  const SuspicionEntries& entries() const { return entries_; }

 private:
  SuspicionLedger(const SuspicionSettings& settings, SuspicionEntries entries)
      : settings_(settings), entries_(std::move(entries)) {}
  double ThresholdFor(double rate);

  SuspicionSettings settings_;
  SuspicionEntries entries_;
  std::map<double, double> thresholds_;  // by rate: computed once
};

}  // namespace rivulet
