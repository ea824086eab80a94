#include "aggregation/robust/update_bounds.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "aggregation/fixed_point_kernel.h"
#include "aggregation/robust/kernels.h"
#include "aggregation/values_digest.h"

namespace rivulet {
namespace {

absl::Status RefuseUpdate(absl::StatusCode code, const std::string& message) {
  return Refuse(code, "update: " + message, Remedy::kLeaveRun);
}

absl::Status CheckShapes(const Manifest& manifest, const UpdateView& update) {
  if (update.size() != manifest.size()) {
    return RefuseUpdate(absl::StatusCode::kInvalidArgument, "got " + std::to_string(update.size()) +
                                                                " tensors, want " +
                                                                std::to_string(manifest.size()));
  }
  for (size_t tensor = 0; tensor < manifest.size(); ++tensor) {
    const auto want = static_cast<size_t>(manifest[tensor].elements());
    if (update[tensor].size() == want) continue;
    return RefuseUpdate(absl::StatusCode::kInvalidArgument,
                        manifest[tensor].name + ": got " + std::to_string(update[tensor].size()) +
                            " values, want " + std::to_string(want));
  }
  return absl::OkStatus();
}

absl::Status CheckValuesFinite(const Manifest& manifest, const UpdateView& update) {
  constexpr auto kInfinityBits = std::bit_cast<uint32_t>(std::numeric_limits<float>::infinity());
  for (size_t tensor = 0; tensor < manifest.size(); ++tensor) {
    if (LargestMagnitudeBits(update[tensor]) < kInfinityBits) continue;
    const auto bad = std::find_if_not(update[tensor].begin(), update[tensor].end(),
                                      [](float value) { return std::isfinite(value); });
    return RefuseUpdate(absl::StatusCode::kInvalidArgument,
                        manifest[tensor].name + "[" + std::to_string(bad - update[tensor].begin()) +
                            "]: got " + std::to_string(*bad) + ", want a finite value");
  }
  return absl::OkStatus();
}

absl::StatusOr<BoundedUpdate> BoundNorms(const Manifest& manifest, const UpdateView& update,
                                         const UpdateBounds& bounds) {
  std::array<double, NormBounds::kParts> squares{};
  for (size_t tensor = 0; tensor < manifest.size(); ++tensor) {
    squares[bounds.norms.PartOf(manifest[tensor].name)] += SquaredNorm(update[tensor]);
  }
  BoundedUpdate result;
  result.zero = true;
  for (size_t part = 0; part < NormBounds::kParts; ++part) {
    const double bound = bounds.norms.bounds[part];
    const double norm = std::sqrt(squares[part]);
    if (bound > 0 && norm > bounds.refuse_ratio * bound) {
      return RefuseUpdate(absl::StatusCode::kOutOfRange,
                          "norm of " + std::string(NormBounds::kNames[part]) + ": got " +
                              std::to_string(norm) + ", want at most " +
                              std::to_string(bounds.refuse_ratio * bound));
    }
    result.norms[part] = norm;
    result.factors[part] = bounds.norms.FactorOf(part, squares[part]);
    result.clipped |= result.factors[part] < 1;
    result.zero &= norm == 0;
  }
  return result;
}

bool SameBits(const UpdateView& one, const UpdateView& two) {
  return std::equal(
      one.begin(), one.end(), two.begin(), two.end(),
      [](std::span<const float> left, std::span<const float> right) {
        return left.size() == right.size() &&
               (left.empty() || std::memcmp(left.data(), right.data(), left.size_bytes()) == 0);
      });
}

}  // namespace

absl::StatusOr<BoundedUpdate> CheckUpdate(const Manifest& manifest, const UpdateView& update,
                                          int64_t weight, const UpdateBounds& bounds) {
  RV_RETURN_IF_ERROR(CheckShapes(manifest, update));
  RV_RETURN_IF_ERROR(CheckValuesFinite(manifest, update));
  RV_ASSIGN_OR_RETURN(const BoundedUpdate bounded, BoundNorms(manifest, update, bounds));
  if (weight < 1 || weight > bounds.weight_cap) {
    return RefuseUpdate(absl::StatusCode::kOutOfRange, "weight: got " + std::to_string(weight) +
                                                           ", want 1 .. " +
                                                           std::to_string(bounds.weight_cap));
  }
  return bounded;
}

size_t FlushSubnormals(std::span<float> values) {
  size_t flushed = 0;
  for (float& value : values) {
    if (std::fpclassify(value) != FP_SUBNORMAL) continue;
    value = std::copysign(0.0f, value);
    ++flushed;
  }
  return flushed;
}

std::vector<std::pair<uint32_t, uint32_t>> IdenticalUpdates(
    const std::vector<UpdateView>& updates) {
  std::vector<ValuesDigest> digests(updates.size());
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  for (uint32_t update = 0; update < updates.size(); ++update) {
    uint64_t first = 0;
    for (const std::span<const float> values : updates[update]) {
      digests[update].Add(first, values);
      first += values.size();
    }
    for (uint32_t before = 0; before < update; ++before) {
      if (!(digests[before] == digests[update])) continue;
      if (!SameBits(updates[before], updates[update])) continue;
      pairs.push_back({before, update});
      break;
    }
  }
  return pairs;
}

}  // namespace rivulet
