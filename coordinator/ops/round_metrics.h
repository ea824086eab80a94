#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "coordinator/ops/histogram.h"
#include "coordinator/rounds/federation.h"

namespace rivulet {

// What became of the rounds of all jobs since the start: outcomes, times, held-out figures. Thread
// safe.
class RoundMetrics {
 public:
  explicit RoundMetrics(Federation& federation);  // must outlive it
  ~RoundMetrics();

  // Held-out figures are those of `jobs`; the others' are forgotten.
  void WriteTo(Exposition& page, const std::set<std::string>& jobs);

 private:
  struct HeldOut {
    double loss = 0;
    double accuracy = 0;
  };
  void Take(const JobEvent& event);
  void WriteHeldOut(Exposition& page, const std::set<std::string>& jobs);

  Federation& federation_;
  Histogram seconds_;
  Histogram wait_seconds_;
  std::mutex mutex_;
  uint64_t completed_ = 0, abandoned_ = 0;
  std::map<std::string, int64_t> free_since_ms_;  // by job: when its next work could have begun
  std::map<std::string, HeldOut> held_out_;       // by job: of its last evaluation
  const uint64_t subscription_;                   // last: it uses them all
};

}  // namespace rivulet
