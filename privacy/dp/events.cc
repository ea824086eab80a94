#include "privacy/dp/events.h"

#include <array>
#include <cmath>
#include <string>

namespace rivulet {
namespace {

constexpr std::array<std::string_view, 3> kRelations = {"add-remove-one", "replace-one",
                                                        "zero-out"};
constexpr std::array<std::string_view, 2> kUnits = {"client", "example"};

absl::Status BadEvent(std::string_view field, double got, std::string_view want) {
  return Refuse(absl::StatusCode::kInvalidArgument, "privacy event: " + std::string(field) +
                                                        ": got " + std::to_string(got) + ", want " +
                                                        std::string(want));
}

absl::Status CheckNoise(double sigma, int64_t steps) {
  if (!(sigma >= 0) || !std::isfinite(sigma)) {
    return BadEvent("sigma", sigma, "a finite number, 0 or more");
  }
  if (steps < 1 || steps > 1'000'000'000) {
    return BadEvent("steps", static_cast<double>(steps), "1..10^9");
  }
  return absl::OkStatus();
}

absl::Status CheckOne(const GaussianEvent& event) { return CheckNoise(event.sigma, event.steps); }

absl::Status CheckOne(const PoissonGaussianEvent& event) {
  if (!(event.q >= 0 && event.q <= 1)) return BadEvent("q", event.q, "0..1");
  return CheckNoise(event.sigma, event.steps);
}

absl::Status CheckOne(const DistributedEvent& event) {
  if (!(event.norm_bound > 0) || !std::isfinite(event.norm_bound)) {
    return BadEvent("norm bound", event.norm_bound, "a finite number above 0");
  }
  if (!(event.local_variance > 0) || !std::isfinite(event.local_variance)) {
    return BadEvent("local variance", event.local_variance, "a finite number above 0");
  }
  if (event.values < 1) return BadEvent("values", static_cast<double>(event.values), "1 or more");
  return CheckNoise(1, event.steps);
}

absl::Status CheckOne(const TreeEvent& event) {
  if (event.max_participation < 1) {
    return BadEvent("max_participation", static_cast<double>(event.max_participation), "1 or more");
  }
  if (event.min_separation < 0) {
    return BadEvent("min_separation", static_cast<double>(event.min_separation), "0 or more");
  }
  return CheckNoise(event.sigma, event.steps);
}

absl::Status CheckOne(const BandedEvent& event) { return CheckNoise(event.sigma, 1); }

}  // namespace

std::string_view NameOf(RelationName relation) {
  return kRelations.at(static_cast<size_t>(relation));
}

std::string_view NameOf(PrivacyUnit unit) { return kUnits.at(static_cast<size_t>(unit)); }

absl::StatusOr<RelationName> RelationFrom(std::string_view name) {
  for (size_t at = 0; at < kRelations.size(); ++at) {
    if (kRelations[at] == name) return static_cast<RelationName>(at);
  }
  return Refuse(absl::StatusCode::kInvalidArgument,
                "relation: got another word, want add-remove-one, replace-one or zero-out");
}

absl::StatusOr<PrivacyUnit> PrivacyUnitFrom(std::string_view name) {
  for (size_t at = 0; at < kUnits.size(); ++at) {
    if (kUnits[at] == name) return static_cast<PrivacyUnit>(at);
  }
  return Refuse(absl::StatusCode::kInvalidArgument,
                "unit: got another word, want client or example");
}

RelationName RelationOf(const PrivacyEvent& event) {
  if (const auto* gaussian = std::get_if<GaussianEvent>(&event)) return gaussian->relation;
  if (const auto* shares = std::get_if<DistributedEvent>(&event)) return shares->relation;
  if (const auto* tree = std::get_if<TreeEvent>(&event)) return tree->relation;
  if (const auto* banded = std::get_if<BandedEvent>(&event)) return banded->relation;
  return RelationName::kAddRemoveOne;
}

absl::Status CheckEvent(const PrivacyEvent& event) {
  return std::visit([](const auto& one) { return CheckOne(one); }, event);
}

}  // namespace rivulet
