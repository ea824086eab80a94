#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "aggregation/codec/lattice.h"
#include "aggregation/codec/linear.h"
#include "common/job/job_spec.h"
#include "common/tensor/parameter_set.h"
#include "privacy/dp/mechanism.h"
#include "privacy/masking/slots.h"
#include "privacy/secagg/shared/params.h"

namespace rivulet {

// What a client says of its training. It travels inside the mask: the coordinator learns the sums.
struct MaskedFigures {
  int64_t examples = 0;
  int64_t tokens = 0;
  int64_t steps = 0;
  double loss = 0;  // mean, nats; of a sum: the sum of the clients' means
};

// The attempt that vectors are made for.
struct MaskedAttempt {
  std::string job;
  uint64_t round = 0;
  uint32_t attempt = 0;      // from 1, as everywhere but in the protocol, which counts from 0
  std::string state_sha256;  // hex, of the global state's file
  std::string document;      // canonical job document
  uint32_t cohort = 0;       // clients invited to the sum
  uint32_t group = 0;        // with robust.groups: which of the sums, from 0
  Bytes32 drawn = {};        // and the draw that made it (DrawnId); zeros: of the pool itself
};

// How the updates of a job become integers under the mask, and what their sum becomes. A function
// of the job alone, so that coordinator and clients agree without a word. Layout of a vector:
//   values       the update: reduced (random-k, count-sketch, ...), rotated, quantised, or of each
//                number the sign; votes as they are; as many in an element as the ring holds
//                (slots.h), one where every client adds noise
//   weight       of the client
//   bit          with adaptive clipping: whether the update's norm is within the clip norm
//   figures      examples, tokens, steps, loss as digits of FigureBits bits, low digit first; none
//                where noise would have to hide them
//   checksums    4, the protocol's own
// Source: the protocol's document, section 8.
class MaskedForm {
 public:
  // Errors: InvalidArgument naming the key that does not fit.
  static absl::StatusOr<MaskedForm> Of(const JobSpec& spec, const Manifest& manifest);

  size_t values() const { return size_.values; }  // with padding
  int value_bits() const { return value_bits_; }
  uint32_t max_weight() const { return max_weight_; }
  // The values of a vector among the elements of a sum over so many clients.
  SlotLayout SlotsOf(uint32_t clients) const;
  bool rotated() const { return size_.rotation_log2 > 0; }
  size_t block() const { return size_t{1} << size_.rotation_log2; }  // numbers rotated together
  // Values are votes: whole numbers as they are, no lattice (MasksVotes).
  bool votes() const { return votes_; }
  // Values are signs of rotated numbers (signs.h): codec drive.
  bool signs() const { return signs_; }
  double range() const { return range_; }  // L2 norm of an update, at most
  // codec power-sgd (InTwoPasses): the form of a first pass, unless OfSecondPass made it.
  bool two_passes() const { return two_passes_; }
  bool second_pass() const { return !first_sha256_.empty(); }
  // privacy.adaptive-clip: the range is the clip norm of a round, the job's own in the first one.
  bool adaptive() const { return counted() && privacy_.adaptive_clip; }
  // The form of a round of that clip norm; without adaptive clipping this one.
  MaskedForm OfRound(double clip_norm) const;
  // That of a second pass, bound to what the first came to: `first_sha256`, 64 hex digits, of its
  // mean's bytes. This one where that is empty.
  MaskedForm OfSecondPass(const std::string& first_sha256) const;
  size_t numbers() const { return numbers_; }
  const Manifest& manifest() const { return manifest_; }
  uint64_t seed() const { return seed_; }  // the job's

  // How many sums a cohort of so many clients makes: robust.groups, or fewer so that each has the
  // members it needs; 1 without groups.
  uint32_t GroupsOf(uint32_t cohort) const;
  // Whether cohorts are cut into groups, which are drawn (privacy/secagg/shared/draw.h).
  bool grouped() const { return groups_ > 0; }
  // Members of a pool that is drawn from, at least: fewer make no round.
  uint32_t fewest_drawn() const { return fewest_drawn_; }

  // Where the size of cohorts is known before there is one (0: it is not): the protocol has a graph
  // for it, and where clients add noise, an honest share of that is sure. Errors: InvalidArgument
  // with the job's keys.
  absl::Status CheckCohort(uint32_t cohort) const;

  // The parameters of one attempt; both sides compute them, and a client refuses others.
  secagg::Params ParamsOf(const MaskedAttempt& attempt) const;

  // A client carries what its vector could not hold into its next one. Never under noise: what is
  // carried is outside the clip.
  bool feedback() const;
  bool chooses_by_movement() const { return compression_.codec == "public-top-k"; }
  // Every client adds noise to its vector (privacy.mechanism = "distributed").
  bool noised() const { return mechanism_ == "distributed"; }
  // The coordinator adds it to the sum (privacy.mechanism = "central").
  bool central() const { return mechanism_ == "central"; }
  // Either: a vector's norm is bounded in integers, and no figure travels beside it.
  bool counted() const { return noised() || central(); }

  // The lattice of values without noise of the clients; of signs, whose step is its bound.
  LatticeParams lattice() const;
  // The norm of a client's integers under central(), at most: what the noise is scaled by.
  double norm_bound() const;

  // That noise in a session of these parameters. The shares counted on are those of the smallest
  // roster that the session allows. Errors: InvalidArgument when no noise multiplier keeps
  // privacy.target-epsilon, the session promises no honest share, or an adaptive-clipping bit of so
  // many clients would cost more than the round may.
  absl::StatusOr<DistributedNoise> NoiseOf(const secagg::Params& params) const;

  // The integer weight of a client that saw so many tokens: 1, or for "capped" 1..255 in units of
  // weight-cap / 255.
  uint32_t WeightOf(int64_t tokens) const;

  // The linear maps of one round, outermost first. `sid0`, `sid`: of the session, whose public
  // stream gives the rotation's signs. `previous`: for public-top-k, the last aggregate, flat, or
  // empty; in a second pass, the mean of the first, reduced.
  struct Maps {
    std::unique_ptr<LinearStage> reduce;
    std::unique_ptr<LinearStage> rotate;
    size_t reduced = 0;  // numbers between the two
  };
  absl::StatusOr<Maps> MapsOf(uint64_t round, const Bytes32& sid0, const Bytes32& sid,
                              std::span<const float> previous) const;

  // Of two passes, what the first alone says of an update or a mean: `first` is what it has of
  // that, `mean` its mean, `round` that of the second. Flat; zeros in tensors that wait for the
  // second. Errors: those of PowerSgdFirstPart.
  absl::StatusOr<std::vector<float>> FirstPartOf(uint64_t round, std::span<const float> mean,
                                                 std::span<const float> first) const;

 private:
  MaskedForm() = default;
  struct Size {
    size_t reduced = 0;
    size_t values = 0;      // with padding
    int rotation_log2 = 0;  // 0: none
  };
  absl::Status Measure();
  absl::Status CheckMembers(uint32_t cohort) const;
  absl::StatusOr<SessionShape> SureSession(const secagg::Params& params) const;
  Bytes32 ConfigOf(const MaskedAttempt& attempt) const;

  Manifest manifest_;
  CompressionSection compression_;
  StrategySection strategy_;
  SecureAggregationSection masking_;
  PrivacySection privacy_;
  std::string mechanism_;
  int64_t rounds_ = 1;
  uint64_t seed_ = 0;
  uint32_t fewest_ = 0;  // clients in a sum
  uint32_t groups_ = 0;  // robust.groups
  uint32_t fewest_drawn_ = 0;
  size_t numbers_ = 0;  // of the update
  Size size_;
  size_t fewest_rotated_ = 0;  // shorter vectors are not rotated
  int value_bits_ = 0;
  bool votes_ = false;
  bool signs_ = false;
  bool two_passes_ = false;
  Size second_;               // of second passes
  std::string first_sha256_;  // in a second pass
  uint32_t max_weight_ = 1;
  double range_ = 0;
};

// Bits of the figures inside a vector, in their order.
inline constexpr int kExamplesBits = 40;
inline constexpr int kTokensBits = 40;
inline constexpr int kStepsBits = 32;
inline constexpr int kLossBits = 24;  // 2^-14 nats each
inline constexpr double kLossUnit = 1.0 / 16384;

// Of a digit of the figures, beside values of p bits.
constexpr int FigureBits(const secagg::Params& params) { return std::min(params.p - 1, 40); }

}  // namespace rivulet
