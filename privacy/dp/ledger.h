#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/status.h"
#include "privacy/dp/events.h"

namespace rivulet {

enum class DpMechanism {
  kCentralGaussian = 0,      // everybody or a Poisson cohort, noise by the coordinator
  kDistributedGaussian = 1,  // discrete Gaussian shares in the secure sum
  kDistributedSkellam = 2,
  kTree = 3,
  kBanded = 4,
};
std::string_view NameOf(DpMechanism mechanism);  // "central-gaussian", ...
absl::StatusOr<DpMechanism> DpMechanismFrom(std::string_view name);

// One release, as the coordinator stores it in the transaction that closes the round. Numbers that
// do not belong to the mechanism are 0 and text is empty.
struct LedgerRow {
  std::string job;
  std::string data_set;  // epsilon adds up per data set, over all jobs
  bool tuning = false;   // a trial run: counted like any other, and named in reports
  int64_t round = 0;
  DpMechanism mechanism = DpMechanism::kCentralGaussian;
  PrivacyUnit unit = PrivacyUnit::kClient;
  RelationName relation = RelationName::kAddRemoveOne;
  double q = 1;
  double z = 0;           // what the round costs, data and clip bit together
  double z_delta = 0;     // noise multiplier of the data; = z without adaptive clipping
  double clip_norm = 0;   // C of this round
  int64_t survivors = 0;  // |U3|, or contributions in the sum
  int64_t n_eff = 0;      // noise shares guaranteed; 0 when central
  int64_t n_max = 0;      // clients of the session at most; 0 when central
  int64_t values = 0;     // (padded) coordinates
  double sigma_int = 0;   // standard deviation on the integer grid; one share's when distributed
  double scale = 0;       // s, grid steps per unit; 2^24 when central
  double norm_bound = 0;  // B, grid steps
  int64_t accumulator_bits = 0;
  int64_t steps = 1;  // 1; rounds of the whole tree or factorisation for those
  int64_t max_participation = 0;
  int64_t min_separation = 0;
  double delta = 0;
  double eps_pld = 0;  // after this round
  double eps_rdp = 0;
  std::string seed_commitment;  // 64 hex digits
  std::string code_version;
  std::string vectors_sha256;  // 64 hex digits: the known answers this accountant met

  bool operator==(const LedgerRow&) const = default;

  // The event this row charges. Errors: InvalidArgument naming the field.
  absl::StatusOr<PrivacyEvent> Event() const;
  // Errors: InvalidArgument naming the first field out of range.
  absl::Status Validate() const;
};

// One line of JSON, keys in the order above, numbers in their shortest form that reads back equal:
// equal rows give equal bytes.
std::string ToJson(const LedgerRow& row);

// Reads what ToJson writes and nothing else: every key, in order, no other, bytes equal to its own
// writing. Errors: InvalidArgument naming what is wrong; OutOfRange above 4 KiB.
absl::StatusOr<LedgerRow> LedgerRowFrom(std::string_view text);

}  // namespace rivulet
