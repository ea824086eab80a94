#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "coordinator/rounds/round_engine.h"

namespace rivulet {

struct Cohort {
  int needed = 0;                    // updates that close the round
  std::vector<std::string> invited;  // sorted; ceil(needed * over_selection), at most all
};

// Who works on attempt `attempt` at round `round`, from the eligible clients (name -> capability).
//   random      by the addressed stream (seed, round, kCohort, attempt): the same on every machine
//   all         everybody
//   capability  the most capable, ties by name
// With config.draw whoever that says. config.trusted, one of the eligible, is invited beside those
// that are chosen from the others, and `needed` counts it.
Cohort SelectCohort(const EngineConfig& config, const std::map<std::string, uint64_t>& eligible,
                    uint64_t round, uint32_t attempt);

}  // namespace rivulet
