#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/status.h"
#include "privacy/dp/events.h"
#include "privacy/dp/rdp.h"

namespace rivulet {

// What has been spent, in nats, at one delta.
struct Epsilon {
  double pld = 0;             // the number to report: tight, and an upper bound
  double rdp = 0;             // cross-check from Renyi orders; never below pld
  double rdp_order = 0;       // the order that gave it
  bool order_at_end = false;  // the best order is the first or the last of the list: warn

  // Where `pld` comes from. kRenyi: the event has no loss distribution here (distributed noise), so
  // pld equals rdp.
  enum class Source { kExactGaussian = 0, kLossDistribution = 1, kRenyi = 2 };
  Source source = Source::kExactGaussian;
};

class ComposedLoss;

// Composes the releases of one run and says what they cost together.
//
// All events must speak of one unit and one neighbouring relation; mixing them is refused, because
// the sum of such numbers is no statement about anything. Equal events are grouped, so 10^5 rounds
// cost what one round costs, and what one release costs is remembered for the whole process.
// Copyable. Not thread safe.
class Accountant {
 public:
  explicit Accountant(PrivacyUnit unit);

  // Errors: InvalidArgument from CheckEvent; FailedPrecondition when the relation is not that of
  // the events before. What is refused has changed nothing.
  absl::Status Compose(const PrivacyEvent& event);
  // Errors: also FailedPrecondition when the units differ.
  absl::Status Compose(const Accountant& other);

  // The smallest epsilon known for `delta`, by both accountants. Nothing composed: 0.
  // Errors: InvalidArgument unless 1e-11 <= delta < 1; Internal when pld > rdp (1 + 1e-6), which
  // means that one of the two is wrong: publish nothing.
  absl::StatusOr<Epsilon> EpsilonAt(double delta) const;

  // The smallest delta known for `epsilon` >= 0.
  absl::StatusOr<double> DeltaAt(double epsilon) const;

  PrivacyUnit unit() const { return unit_; }
  std::optional<RelationName> relation() const { return relation_; }  // none before the first event

 private:
  absl::Status Charge(const GaussianEvent& event);
  absl::Status Charge(const PoissonGaussianEvent& event);
  absl::Status Charge(const DistributedEvent& event);
  absl::Status Charge(const TreeEvent& event);
  absl::Status Charge(const BandedEvent& event);
  void ChargeGaussian(double sigma, double steps);
  RdpCurve TotalRdp() const;
  Epsilon::Source SourceOfPld() const;
  absl::StatusOr<ComposedLoss> Losses(double refine) const;

  PrivacyUnit unit_;
  std::optional<RelationName> relation_;
  double gaussian_mu2_ = 0;                               // sum of steps / sigma^2
  std::map<std::pair<double, double>, int64_t> sampled_;  // (q, sigma) -> steps
  RdpCurve renyi_only_;                                   // of what has no loss distribution here
  bool has_renyi_only_ = false;
};

// "3.142": `value` with `digits` after the point, rounded UP in exact decimal arithmetic; "inf" for
// infinity, "nan" never (aborts).
std::string FormatEpsilon(double value, int digits = 3);

}  // namespace rivulet
