#include "privacy/dp/accountant.h"

#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "privacy/dp/distributed.h"
#include "privacy/dp/exact_gaussian.h"
#include "privacy/dp/log_math.h"
#include "privacy/dp/pld.h"
#include "privacy/dp/tree.h"

namespace rivulet {
namespace {

constexpr double kLeastDelta = 1e-11;  // below it the transform's rounding is all one would see
constexpr double kSlack = 1e-6;        // of pld above rdp
constexpr double kCoarsestGrid = 0.05;
constexpr double kMostPoints = 1 << 20;

std::string Shown(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

// What one release costs, by its parameters: every round of a run asks for the same again. Thread
// safe.
class ReleaseCache {
 public:
  static ReleaseCache& Shared() {
    static ReleaseCache cache;
    return cache;
  }

  std::shared_ptr<const LossPair> Losses(double q, double sigma, double grid) {
    const std::lock_guard lock(mutex_);
    if (losses_.size() > kMostLosses) losses_.clear();
    std::shared_ptr<const LossPair>& entry = losses_[{q, sigma, grid}];
    if (entry == nullptr) {
      entry =
          std::make_shared<const LossPair>(LossPairOf(GaussianMixture::Sampled(q, sigma), grid));
    }
    return entry;
  }
  RdpCurve Rdp(double q, double sigma) {
    const std::lock_guard lock(mutex_);
    if (curves_.size() > kMostCurves) curves_.clear();
    RdpCurve& curve = curves_[{q, sigma}];
    if (curve.orders.empty()) curve = SampledGaussianCurve(q, sigma);
    return curve;
  }

 private:
  static constexpr size_t kMostLosses = 8;  // some megabytes each
  static constexpr size_t kMostCurves = 1024;
  std::mutex mutex_;
  std::map<std::tuple<double, double, double>, std::shared_ptr<const LossPair>> losses_;
  std::map<std::pair<double, double>, RdpCurve> curves_;
};

struct Part {
  double q, sigma;
  int64_t times;
  GaussianMixture Mixture() const { return GaussianMixture::Sampled(q, sigma); }
};

// Fine enough to resolve one release (coarser, and its variance is overstated), coarse enough for
// its losses to be computed in a second.
double GridFor(const std::vector<Part>& parts, double refine) {
  double variance = 0, times = 0, width = 0;
  for (const Part& part : parts) {
    variance += static_cast<double>(part.times) * part.Mixture().LossVariance();
    times += static_cast<double>(part.times);
    width = std::max(width, part.Mixture().LossWidth());
  }
  const double wanted = std::min(kDefaultGrid, std::sqrt(variance / times) / 8) / refine;
  double grid = kDefaultGrid;
  while (grid > wanted && width / grid < kMostPoints / 2) grid /= 2;
  while (width / grid > kMostPoints && grid < kCoarsestGrid) grid *= 2;
  return grid;
}

absl::StatusOr<ComposedLoss> Composed(const std::vector<Part>& parts, double grid) {
  while (true) {
    std::vector<RepeatedLoss> steps;
    for (const Part& part : parts) {
      steps.push_back({ReleaseCache::Shared().Losses(part.q, part.sigma, grid), part.times});
    }
    absl::StatusOr<ComposedLoss> composed = ComposedLoss::Make(steps);
    if (composed.ok() || composed.status().code() != absl::StatusCode::kResourceExhausted ||
        grid >= kCoarsestGrid) {
      return composed;
    }
    grid *= 2;
  }
}

}  // namespace

Accountant::Accountant(PrivacyUnit unit) : unit_(unit), renyi_only_(RdpCurve::Zero()) {}

absl::Status Accountant::Compose(const PrivacyEvent& event) {
  RV_RETURN_IF_ERROR(CheckEvent(event));
  const RelationName relation = RelationOf(event);
  if (relation_.has_value() && *relation_ != relation) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "accountant: got an event of relation " + std::string(NameOf(relation)) +
                      ", want " + std::string(NameOf(*relation_)) + " as before");
  }
  RV_RETURN_IF_ERROR(std::visit([this](const auto& one) { return Charge(one); }, event));
  relation_ = relation;
  return absl::OkStatus();
}

absl::Status Accountant::Charge(const GaussianEvent& event) {
  ChargeGaussian(event.sigma, static_cast<double>(event.steps));
  return absl::OkStatus();
}

absl::Status Accountant::Charge(const PoissonGaussianEvent& event) {
  if (event.q == 1) {
    ChargeGaussian(event.sigma, static_cast<double>(event.steps));
    return absl::OkStatus();
  }
  if (event.q == 0) return absl::OkStatus();
  sampled_[{event.q, event.sigma}] += event.steps;
  return absl::OkStatus();
}

absl::Status Accountant::Charge(const DistributedEvent& event) {
  renyi_only_.Add(DistributedCurve(event), static_cast<double>(event.steps));
  has_renyi_only_ = true;
  return absl::OkStatus();
}

absl::Status Accountant::Charge(const TreeEvent& event) {
  RV_ASSIGN_OR_RETURN(
      const double square,
      TreeSensitivitySquared(event.steps, event.max_participation, event.min_separation));
  ChargeGaussian(event.sigma, square);
  return absl::OkStatus();
}

absl::Status Accountant::Charge(const BandedEvent& event) {
  ChargeGaussian(event.sigma, 1);
  return absl::OkStatus();
}

void Accountant::ChargeGaussian(double sigma, double steps) {
  gaussian_mu2_ += steps / (sigma * sigma);
}

absl::Status Accountant::Compose(const Accountant& other) {
  if (other.unit_ != unit_) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "accountant: got an epsilon of unit " + std::string(NameOf(other.unit_)) +
                      ", want " + std::string(NameOf(unit_)));
  }
  if (!other.relation_.has_value()) return absl::OkStatus();
  if (relation_.has_value() && *relation_ != *other.relation_) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "accountant: got relation " + std::string(NameOf(*other.relation_)) + ", want " +
                      std::string(NameOf(*relation_)));
  }
  relation_ = other.relation_;
  gaussian_mu2_ += other.gaussian_mu2_;
  for (const auto& [parameters, steps] : other.sampled_) sampled_[parameters] += steps;
  renyi_only_.Add(other.renyi_only_);
  has_renyi_only_ |= other.has_renyi_only_;
  return absl::OkStatus();
}

RdpCurve Accountant::TotalRdp() const {
  RdpCurve total = renyi_only_;
  if (gaussian_mu2_ > 0) {
    for (size_t at = 0; at < total.orders.size(); ++at) {
      total.values[at] += total.orders[at] / 2 * gaussian_mu2_;
    }
  }
  for (const auto& [parameters, steps] : sampled_) {
    total.Add(ReleaseCache::Shared().Rdp(parameters.first, parameters.second),
              static_cast<double>(steps));
  }
  return total;
}

Epsilon::Source Accountant::SourceOfPld() const {
  if (has_renyi_only_) return Epsilon::Source::kRenyi;
  if (sampled_.empty()) return Epsilon::Source::kExactGaussian;
  const double gaussian = 1 / std::sqrt(gaussian_mu2_);
  double least = gaussian_mu2_ > 0 ? gaussian : kPlusInfinity;
  for (const auto& [parameters, steps] : sampled_) least = std::min(least, parameters.second);
  return least < GaussianMixture::kLeastSigma ? Epsilon::Source::kRenyi
                                              : Epsilon::Source::kLossDistribution;
}

absl::StatusOr<ComposedLoss> Accountant::Losses(double refine) const {
  std::vector<Part> parts;
  for (const auto& [parameters, steps] : sampled_) {
    parts.push_back({parameters.first, parameters.second, steps});
  }
  if (gaussian_mu2_ > 0) parts.push_back({1, 1 / std::sqrt(gaussian_mu2_), 1});
  return Composed(parts, GridFor(parts, refine));
}

absl::StatusOr<Epsilon> Accountant::EpsilonAt(double delta) const {
  if (!(delta >= kLeastDelta && delta < 1)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "delta: got " + Shown(delta) + ", want 1e-11 or more and below 1");
  }
  const RdpEpsilon renyi = EpsilonOf(TotalRdp(), delta);
  Epsilon answer{.rdp = renyi.epsilon,
                 .rdp_order = renyi.order,
                 .order_at_end = renyi.order_at_end,
                 .source = SourceOfPld()};
  if (answer.source == Epsilon::Source::kRenyi) {
    answer.pld = answer.rdp;
    return answer;
  }
  if (answer.source == Epsilon::Source::kExactGaussian) {
    answer.pld = ExactGaussianEpsilon(std::sqrt(gaussian_mu2_), delta);
  } else {
    // A finer grid where the default one overstates tiny losses.
    for (const double refine : {1.0, 4.0, 16.0}) {
      RV_ASSIGN_OR_RETURN(const ComposedLoss losses, Losses(refine));
      answer.pld = losses.Epsilon(delta);
      if (answer.pld <= answer.rdp * (1 + kSlack)) break;
    }
    // Within a grid step both are upper bounds of one number and the smaller one holds.
    if (answer.pld - answer.rdp < kDefaultGrid) answer.pld = std::min(answer.pld, answer.rdp);
  }
  if (answer.pld > answer.rdp * (1 + kSlack)) {
    return Refuse(absl::StatusCode::kInternal,
                  "accountant: got a loss-distribution epsilon of " + Shown(answer.pld) +
                      ", want at most the Renyi epsilon " + Shown(answer.rdp));
  }
  return answer;
}

absl::StatusOr<double> Accountant::DeltaAt(double epsilon) const {
  if (!(epsilon >= 0)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "epsilon: got " + Shown(epsilon) + ", want 0 or more");
  }
  const double renyi = DeltaOf(TotalRdp(), epsilon);
  switch (SourceOfPld()) {
    case Epsilon::Source::kRenyi:
      return renyi;
    case Epsilon::Source::kExactGaussian:
      return std::min(renyi, ExactGaussianDelta(std::sqrt(gaussian_mu2_), epsilon));
    case Epsilon::Source::kLossDistribution:
      break;
  }
  RV_ASSIGN_OR_RETURN(const ComposedLoss losses, Losses(1));
  return std::min(renyi, losses.Delta(epsilon));
}

}  // namespace rivulet
