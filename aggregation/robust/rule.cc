#include "aggregation/robust/rule.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "aggregation/robust/rules.h"

namespace rivulet {
namespace {

struct RuleEntry {
  std::string_view name;
  RulePointer (*make)(const RobustSettings&, UpdatesNeeded);
  UpdatesNeeded needed;
  bool breaks_down;  // withstands any f updates when there are `needed`
};

constexpr RuleEntry kRules[] = {
    {"mean", NewMean, {0, 1}, false},
    {"norm-bound", NewMean, {0, 1}, false},
    {"median", NewMedian, {2, 1}, true},
    {"trimmed-mean", NewTrimmedMean, {2, 1}, true},
    {"krum", NewKrum, {2, 3}, true},
    {"multi-krum", NewMultiKrum, {2, 3}, true},
    {"bulyan", NewBulyan, {4, 3}, true},
    {"geometric-median", NewGeometricMedian, {2, 1}, true},
    {"centred-clipping", NewCentredClipping, {2, 1}, true},
    {"fltrust", NewFlTrust, {0, 1}, false},
};

const RuleEntry* FindRule(std::string_view name) {
  const auto* const found =
      std::find_if(std::begin(kRules), std::end(kRules),
                   [&](const RuleEntry& entry) { return entry.name == name; });
  return found == std::end(kRules) ? nullptr : found;
}

absl::Status BadSetting(std::string_view key, const std::string& got, std::string_view want) {
  return Refuse(absl::StatusCode::kInvalidArgument,
                "robust." + std::string(key) + ": got " + got + ", want " + std::string(want));
}

absl::Status CheckPositive(std::string_view key, double value) {
  if (value > 0 && std::isfinite(value)) return absl::OkStatus();
  return BadSetting(key, std::to_string(value), "a number above 0");
}

absl::Status CheckBounds(const RobustSettings& settings) {
  const std::pair<std::string_view, double> bounds[] = {
      {"clip", settings.clip}, {"clip-a", settings.clip_a}, {"clip-b", settings.clip_b}};
  bool any = false;
  for (const auto& [key, bound] : bounds) {
    if (!(bound >= 0) || !std::isfinite(bound)) {
      return BadSetting(key, std::to_string(bound), "a number >= 0");
    }
    any |= bound > 0;
  }
  if (settings.rule == "norm-bound" && !any) {
    return BadSetting("clip", "0", "a number above 0 for norm-bound");
  }
  return absl::OkStatus();
}

absl::Status CheckIterations(const RobustSettings& settings) {
  if (settings.iterations >= 1 && settings.iterations <= 1000) return absl::OkStatus();
  return BadSetting("iterations", std::to_string(settings.iterations), "1 .. 1000");
}

absl::Status CheckSpace(const RobustSettings& settings) {
  if (!settings.product_space) return absl::OkStatus();
  if (settings.normalise) {
    return BadSetting("product-space", "true beside normalise",
                      "one of the two: the products have one scale");
  }
  for (const std::string_view rule : {"krum", "multi-krum", "bulyan"}) {
    if (settings.rule == rule) return absl::OkStatus();
  }
  return BadSetting("product-space", "true for " + settings.rule, "krum, multi-krum or bulyan");
}

}  // namespace

std::optional<UpdatesNeeded> BreakdownOf(std::string_view rule) {
  const RuleEntry* const entry = FindRule(rule);
  if (entry == nullptr || !entry->breaks_down) return std::nullopt;
  return entry->needed;
}

absl::StatusOr<std::unique_ptr<RobustRule>> MakeRobustRule(const RobustSettings& settings) {
  const RuleEntry* const entry = FindRule(settings.rule);
  if (entry == nullptr) {
    std::string names;
    for (const RuleEntry& known : kRules) {
      names += (names.empty() ? "" : ", ") + std::string(known.name);
    }
    return Refuse(absl::StatusCode::kNotFound,
                  "robust.rule: got '" + settings.rule + "', want one of " + names);
  }
  RV_RETURN_IF_ERROR(CheckBounds(settings));
  RV_RETURN_IF_ERROR(CheckSpace(settings));
  if (settings.rule == "mean" && settings.f != 0) {
    return BadSetting("f", std::to_string(settings.f), "0 for mean");
  }
  if (settings.rule == "centred-clipping") {
    RV_RETURN_IF_ERROR(CheckPositive("tau", settings.tau));
    RV_RETURN_IF_ERROR(CheckIterations(settings));
  }
  if (settings.rule == "geometric-median") {
    RV_RETURN_IF_ERROR(CheckPositive("nu", settings.nu));
    RV_RETURN_IF_ERROR(CheckIterations(settings));
  }
  return entry->make(settings, entry->needed);
}

std::vector<std::string_view> RobustRuleNames() {
  std::vector<std::string_view> names;
  for (const RuleEntry& entry : kRules) names.push_back(entry.name);
  return names;
}

}  // namespace rivulet
