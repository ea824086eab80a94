#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "common/status.h"

namespace rivulet {

// Which two data sets are neighbours. A type, not a comment: amplification by Poisson sampling is
// proved for AddRemoveOne alone, and a clipped sum moves twice as far under ReplaceOne, so a noise
// multiplier of one relation does not fit a formula of another.
enum class RelationName { kAddRemoveOne = 0, kReplaceOne = 1, kZeroOut = 2 };

struct AddRemoveOne {
  static constexpr RelationName kName = RelationName::kAddRemoveOne;
  static constexpr double kMovesOfASum = 1;  // times the clip norm
};
struct ReplaceOne {
  static constexpr RelationName kName = RelationName::kReplaceOne;
  static constexpr double kMovesOfASum = 2;
};
struct ZeroOut {
  static constexpr RelationName kName = RelationName::kZeroOut;
  static constexpr double kMovesOfASum = 1;
};

// Noise standard deviation / L2 sensitivity under `Relation`, dimensionless, >= 0.
template <typename Relation>
struct NoiseMultiplier {
  double value = 0;
};

// Of a sum of vectors clipped to `clip_norm`, with noise of standard deviation `stddev` in the same
// unit. Both > 0.
template <typename Relation>
constexpr NoiseMultiplier<Relation> NoiseMultiplierOfSum(double stddev, double clip_norm) {
  return {stddev / (Relation::kMovesOfASum * clip_norm)};
}

// Whose data an epsilon speaks of. Statements about different units are never added.
enum class PrivacyUnit { kClient = 0, kExample = 1 };

std::string_view NameOf(RelationName relation);  // "add-remove-one", "replace-one", "zero-out"
std::string_view NameOf(PrivacyUnit unit);       // "client", "example"
absl::StatusOr<RelationName> RelationFrom(std::string_view name);
absl::StatusOr<PrivacyUnit> PrivacyUnitFrom(std::string_view name);

// Everybody takes part: `steps` releases with noise `sigma` each. Also the discrete Gaussian on the
// integer grid, whose Renyi curve is the same (Canonne, Kamath, Steinke 2020, Theorem 4).
struct GaussianEvent {
  template <typename Relation>
  GaussianEvent(NoiseMultiplier<Relation> noise, int64_t steps)
      : sigma(noise.value), steps(steps), relation(Relation::kName) {}

  double sigma;   // > 0
  int64_t steps;  // >= 1
  RelationName relation;
};

// Each unit takes part with probability q, independently, secretly and whatever the data are. A
// cohort of fixed size is none of these: there is no way to build this event from ReplaceOne.
struct PoissonGaussianEvent {
  PoissonGaussianEvent(double q, NoiseMultiplier<AddRemoveOne> noise, int64_t steps)
      : q(q), sigma(noise.value), steps(steps) {}

  double q;  // 0..1
  double sigma;
  int64_t steps;
};

// How many clients' noise is certainly in a published sum. Only a session's shape gives it (see
// GuaranteedShares in distributed.h), never a number somebody hopes for.
class NoiseShares {
 public:
  int64_t effective() const { return effective_; }
  int64_t most() const { return most_; }

 private:
  friend struct SessionShape;
  NoiseShares(int64_t effective, int64_t most) : effective_(effective), most_(most) {}
  int64_t effective_;
  int64_t most_;
};

// Noise added by every client to its integer vector before the secure sum. Everything is in units
// of the integer grid, so the scale of the encoding does not appear. No credit for sampling: the
// coordinator knows who took part, and against it q = 1.
struct DistributedEvent {
  enum class Noise { kDiscreteGaussian = 0, kSkellam = 1 };
  template <typename Relation>
  DistributedEvent(Relation, Noise noise, double norm_bound, double local_variance, int64_t values,
                   NoiseShares shares, int64_t steps)
      : noise(noise),
        norm_bound(Relation::kMovesOfASum * norm_bound),
        local_variance(local_variance),
        values(values),
        shares(shares),
        steps(steps),
        relation(Relation::kName) {}

  Noise noise;
  double norm_bound;      // B: L2 norm by which one unit moves the integer sum, > 0
  double local_variance;  // of one client's noise in one coordinate, > 0
  int64_t values;         // padded length d of the vector
  NoiseShares shares;
  int64_t steps;
  RelationName relation;
};

// Binary-tree prefix sums over `steps` rounds, every node with noise sigma (relative to one
// contribution), each unit at most `max_participation` times with at least `min_separation` rounds
// strictly between two of them. One event is a whole tree.
struct TreeEvent {
  template <typename Relation>
  TreeEvent(NoiseMultiplier<Relation> noise, int64_t steps, int64_t max_participation,
            int64_t min_separation)
      : sigma(noise.value),
        steps(steps),
        max_participation(max_participation),
        min_separation(min_separation),
        relation(Relation::kName) {}

  double sigma;
  int64_t steps;
  int64_t max_participation;
  int64_t min_separation;
  RelationName relation;
};

// Banded matrix factorisation. Its noise is relative to the sensitivity of the whole run
// (sqrt(participations) ||c|| C, see banded.h), so all its rounds together are one Gaussian
// release.
struct BandedEvent {
  template <typename Relation>
  explicit BandedEvent(NoiseMultiplier<Relation> noise)
      : sigma(noise.value), relation(Relation::kName) {}
  double sigma;
  RelationName relation;
};

using PrivacyEvent =
    std::variant<GaussianEvent, PoissonGaussianEvent, DistributedEvent, TreeEvent, BandedEvent>;

RelationName RelationOf(const PrivacyEvent& event);

// Errors: InvalidArgument naming the first field out of range or not finite. sigma = 0 is allowed
// and costs infinitely much.
absl::Status CheckEvent(const PrivacyEvent& event);

}  // namespace rivulet
