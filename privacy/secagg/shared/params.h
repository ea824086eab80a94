#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/status.h"
#include "privacy/crypto/secret.h"
#include "privacy/secagg/shared/graph.h"

namespace rivulet::secagg {

inline constexpr uint32_t kMaxMembers = 5000;  // of one session; larger cohorts use groups
inline constexpr uint32_t kMaxAttempts = 8;    // of one round
inline constexpr uint32_t kChecksums = 4;      // the last auxiliary coordinates
inline constexpr uint32_t kMinAuxiliary = 1 + kChecksums;  // the weight, then the checksums
inline constexpr uint32_t kMaxAuxiliary = 1 << 16;
inline constexpr uint64_t kMaxData = uint64_t{1} << 40;

enum class Mode : uint8_t { kSemiHonest = 0, kMalicious = 1 };
enum class Noise : uint8_t { kNone = 0, kCentral = 1, kGaussian = 2, kSkellam = 3 };
enum class GraphPolicy : uint8_t { kCompleteOnly = 0, kRingAllowed = 1 };

using JobId = std::array<uint8_t, 16>;

// What one attempt of one round agrees on before anything else. Every client hashes it from its own
// view: two that were told different things derive different masks, which do not cancel.
struct Params {
  uint16_t version = 1;
  JobId job_id{};
  uint64_t round = 0;
  uint32_t attempt = 0;     // 0..7
  Bytes32 model_sha256{};   // the global model that the updates are relative to
  Bytes32 config_sha256{};  // the canonical round configuration
  uint64_t d = 0;           // data coordinates after padding
  uint32_t d_aux = 0;       // auxiliary coordinates: weight, metrics, 4 checksums
  uint8_t b = 0;            // ring bits, 8..62
  uint8_t p = 0;            // value bits; with distributed noise the bits of the noised sum, b_acc
  uint32_t W = 1;           // largest integer weight; 1 with distributed noise
  Mode mode = Mode::kMalicious;
  Noise dp = Noise::kNone;
  uint32_t gamma_ppm = 100'000;  // corrupt clients, parts per million; one third is 333334
  uint32_t delta_ppm = 200'000;  // clients that may drop out
  uint32_t n_min = 4;            // fewest clients in a sum
  uint32_t n_max = 0;
  GraphPolicy graph_policy = GraphPolicy::kCompleteOnly;
  uint32_t complete_max = 256;  // a ring only above it

  uint64_t length() const { return d + d_aux; }                     // coordinates
  uint64_t packed_bytes() const { return (length() * b + 7) / 8; }  // of one upload
  bool distributed_noise() const { return dp >= Noise::kGaussian; }
  // Fewest members of a roster: n_min, and never below 4 (mode 1) or 3 (mode 0).
  uint32_t roster_min() const;
  // The graph of a roster of n, by the rates above. Errors: reason GRAPH.
  absl::StatusOr<GraphRule> RuleOf(uint32_t n) const;
  bool operator==(const Params&) const = default;
};

// The 150 bytes that are hashed.
std::string CanonicalBytes(const Params& params);
// Exactly the bytes above. InvalidArgument: another length, domain or version, an unknown enum.
// Says nothing about the values: Check does.
absl::StatusOr<Params> ParseParams(std::string_view bytes);
// H(CanonicalBytes(params)).
Bytes32 Sid0(const Params& params);

// p + ceil(log2(n_max W)) + 2 and at least 8, or p + 2 with distributed noise: two slack bits for
// the range check.
uint32_t RingBits(const Params& params);

// Every field in its range and `b` that of RingBits; with a ring allowed, (gamma, delta) in the
// table. Job creation, server and every client ask this. Errors: reason PARAMS, naming the field.
absl::Status Check(const Params& params);

// Largest |coordinate| of a sum over `survivors` clients that is not rejected.
uint64_t LargestSum(const Params& params, uint32_t survivors);

}  // namespace rivulet::secagg
