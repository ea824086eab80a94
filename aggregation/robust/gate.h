#pragma once

#include <string>
#include <vector>

namespace rivulet {

// The last layer: an aggregate is measured on data of the operator before it is published. Whoever
// runs the evaluation, the decision is a pure function of what was measured.
struct GateSettings {
  double max_rise = 0.10;     // of the held-out loss, relative to the last published one
  double deviations = 3;      // the rise in standard deviations of the last rounds' changes
  double least_rise = 1e-3;   // relative; below it no rise is held against a round
  double step_ratio = 5;      // norm of the step against the running median
  int window = 20;            // published rounds that are remembered
  int least_window = 5;       // changes or steps that must be known before they are compared with
  int failures_to_pause = 2;  // in a row
  int canaries_allowed = 0;   // canary tasks that may fail
};

// Of rounds that were published, oldest first; and how many in a row were not. To be checkpointed.
struct GateHistory {
  std::vector<double> losses;
  std::vector<double> steps;  // L2 norms
  int failures = 0;
};

struct GateMeasure {
  double loss = 0;  // held-out, of the candidate
  double step = 0;  // L2 norm of candidate - published
  int canaries_failed = 0;
};

struct GateDecision {
  bool publish = false;
  bool pause = false;                // the job waits for its operator
  std::vector<std::string> reasons;  // of the refusal: measure, value seen and wanted
  GateHistory history;               // after this round
};

// A refused round is not published and leaves the model and the history of measures as they were.
// Refuses when
//   - loss or step is not finite, or the step is negative;
//   - the loss is above the last published one by more than max_rise of its magnitude;
//   - or by more than `deviations` standard deviations of the changes between consecutive published
//     losses, when at least least_window are known, and by more than least_rise of its magnitude;
//   - the step is above step_ratio times the median of the published ones, when least_window are
//     known and it is not 0;
//   - more than canaries_allowed canary tasks failed.
GateDecision JudgeRound(const GateSettings& settings, const GateHistory& history,
                        const GateMeasure& measure);

}  // namespace rivulet
