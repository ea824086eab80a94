#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"
#include "privacy/dp/events.h"
#include "privacy/dp/noise_seed.h"

namespace rivulet {

// The noise that a trusted coordinator adds to the sums of a whole run, on the grid of
// FixedPointSum.
//   none    of each round by itself, from a seed of its own (mechanism.h)
//   tree    of the prefix sums of a binary tree, begun anew every `restart` rounds (tree.h)
//   banded  of a factorisation with `separation` bands (banded.h)
// The last two are counted for the whole run at once and protect a client in all its rounds
// together, if between two of them there are at least `separation` (round 3 and, with 2, round 5 at
// the earliest): whoever chooses cohorts has to keep that.
struct CentralRun {
  enum class Correlation { kNone = 0, kTree = 1, kBanded = 2 };
  Correlation correlation = Correlation::kNone;
  double noise_multiplier = 0;  // z, > 0: over one contribution; banded: over those of the run
  double clip_norm = 0;         // C, > 0
  int64_t values = 0;           // coordinates, >= 1
  int64_t rounds = 1;           // of the run
  int64_t separation = 1;       // >= 1
  int64_t restart = 0;          // tree: 0 = never
  // L2 norm of one client's integers in a sum, on another grid than FixedPointSum's; 0: on that
  // one, where it follows from clip norm and values.
  double contribution = 0;

  int64_t TreeRounds() const;      // of one tree, or of the factorisation
  int64_t Participations() const;  // of one client in them, at most

  // What one client can move one round's integer sum by; banded: all of them.
  double Sensitivity() const;
  // Of one draw, grid steps^2. Errors: InvalidArgument for a field out of range; OutOfRange when
  // the grid does not hold it.
  absl::StatusOr<uint64_t> Variance() const;

  // sum[i] += the noise of round `round` >= 1 in coordinate i. `seed`: of the round, or for
  // correlated noise of the run; the same one gives the same noise. For the banded kind the noise
  // of all rounds before is made again: time grows with the round. Errors: those of Variance;
  // InvalidArgument for the round or a length that is not `values`; OutOfRange when a sum leaves
  // int64.
  absl::Status AddTo(const NoiseSeed& seed, int64_t round, std::span<int64_t> sum) const;

  // What the run costs: one event for each tree, one for a factorisation, one for each round
  // without correlation. A last tree that is not whole is counted as a whole one. Relation ZeroOut:
  // the cohorts are of fixed size.
  std::vector<PrivacyEvent> Events() const;
};

// The smallest z, to 1e-4 from above, with which the whole run costs at most `epsilon` at `delta`.
// `run`: its z and clip norm are not read. For runs without sampling. Errors: those of
// CalibrateNoise and TreeSensitivitySquared.
absl::StatusOr<double> CalibrateRun(const CentralRun& run, double epsilon, double delta);

}  // namespace rivulet
