#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/direction/directions.h"
#include "common/job/job_spec.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// Kind of train.direction.
DirectionSettings DirectionSettingsOf(const TrainSection& train);

// Names a round's directions.
struct ScalarRound {
  uint64_t round = 0;
  uint64_t session_root = 0;  // scalars.drawn-from = "session": of the attempt's own, else unused
  // With scalars.candidates: which of its candidates each direction is, a byte for each, from 0 on;
  // empty for the first of each.
  std::string choice = {};
};

// Updates of a job with [scalars]: one number for each direction of a round instead of one for each
// trained number. All parties draw the same directions from the job's seed and the round's number,
// which stand in the job's document and so are fixed before any client trains; or, under masks,
// from the fresh keys of the session (DirectionRootOf in privacy/masking).
//
//   fresh    the round's own directions: DeComFL (Li et al. 2024), BAFFLE (Feng et al. 2023), one
//            for each query of each step, or scalars.directions of them for projected updates
//            (Ferret, Shu et al. 2024)
//   pooled   scalars.pool directions for the whole job: FedKSeed (Qin et al. 2023)
//
// A coefficient c moves what is trained by unit() * c * z. Immutable; safe from many threads.
class ScalarForm {
 public:
  // Empty for a job without [scalars]. `trained`: all that the job trains, in its order. `spec`
  // must be valid.
  static std::optional<ScalarForm> Of(const JobSpec& spec, const Manifest& trained);

  // Of an update: "coefficients" [splits() * count()], row by row of a split; but for the client's
  // own row all 0.
  const Manifest& manifest() const { return manifest_; }
  int64_t count() const { return count_; }  // directions of a round
  int splits() const { return splits_; }
  bool pooled() const { return pooled_; }
  // Directions follow from a session: ScalarRound::session_root counts.
  bool of_session() const { return of_session_; }
  // Clients draw from the pool by PoolChoice, not all directions alike.
  bool by_amplitude() const { return by_amplitude_; }
  // Only the sign of a mean counts (FeedSign, Cai et al. 2025).
  bool votes() const { return votes_; }
  // Each direction of a round is one of so many, ScalarRound::choice; 1 = there is no choice.
  int candidates() const { return candidates_; }
  // That of a round's direction j among those of DirectionsOf.
  uint64_t IndexOf(const ScalarRound& round, uint64_t j) const {
    const auto chosen = round.choice.empty() ? uint8_t{0} : static_cast<uint8_t>(round.choice[j]);
    return j * static_cast<uint64_t>(candidates_) + chosen;
  }
  // Errors: InvalidArgument unless it is empty, or has one of the candidates for each direction.
  absl::Status CheckChoice(std::string_view choice) const;
  double unit() const { return unit_; }
  const Manifest& trained() const { return trained_; }
  const DirectionSettings& kind() const { return directions_; }

  // Directions of a round, `split` alone of them moving.
  Directions DirectionsOf(const ScalarRound& round, int split = 0) const;
  // Which part of the trained tensors is this client's in this round.
  int SplitOf(uint64_t round, std::string_view client) const;

  uint64_t seed() const { return seed_; }
  int queries() const { return queries_; }

 private:
  ScalarForm() = default;

  DirectionSettings directions_;
  Manifest trained_, manifest_;
  int64_t count_ = 0;
  int splits_ = 1;
  bool pooled_ = false, votes_ = false, of_session_ = false, by_amplitude_ = false;
  double unit_ = 0;
  uint64_t seed_ = 0;
  int queries_ = 1, candidates_ = 1;
};

// What travels up in place of `trained`: itself, or the manifest of its coefficients.
Manifest UpdateManifestOf(const JobSpec& spec, const Manifest& trained);

}  // namespace rivulet
