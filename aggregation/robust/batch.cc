#include "aggregation/robust/batch.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>

#include "aggregation/parallel.h"
#include "aggregation/robust/kernels.h"
#include "aggregation/robust/norm_bounds.h"

namespace rivulet {
namespace {

constexpr size_t kLeastParallel = size_t{1} << 15;  // coordinates that are worth a thread

absl::Status BadBatch(const std::string& message) {
  return Refuse(absl::StatusCode::kInvalidArgument, message);
}

absl::Status CheckManifest(const RobustContext& context) {
  if (context.manifest == nullptr) return BadBatch("robust rule: got no manifest, want one");
  for (const TensorSpec& spec : *context.manifest) {
    if (spec.dtype != DType::kF32 && spec.dtype != DType::kF64) {
      return BadBatch("robust rule: got " + Describe(spec) + ", want F32 or F64");
    }
  }
  return absl::OkStatus();
}

}  // namespace

UpdateBatch::UpdateBatch(const std::vector<UpdateView>& updates, const RobustContext& context)
    : updates_(&updates), context_(&context), offsets_(1, 0) {
  for (const TensorSpec& spec : *context.manifest) {
    offsets_.push_back(offsets_.back() + static_cast<size_t>(spec.elements()));
  }
}

absl::StatusOr<UpdateBatch> UpdateBatch::Make(const RobustSettings& settings,
                                              const std::vector<UpdateView>& updates,
                                              const RobustContext& context) {
  RV_RETURN_IF_ERROR(CheckManifest(context));
  const Manifest& manifest = *context.manifest;
  for (size_t update = 0; update < updates.size(); ++update) {
    const std::string where = "update " + std::to_string(update);
    if (updates[update].size() != manifest.size()) {
      return BadBatch(where + ": got " + std::to_string(updates[update].size()) +
                      " tensors, want " + std::to_string(manifest.size()));
    }
    for (size_t tensor = 0; tensor < manifest.size(); ++tensor) {
      const auto want = static_cast<size_t>(manifest[tensor].elements());
      const size_t got = updates[update][tensor].size();
      if (got == want) continue;
      return BadBatch(where + ": " + manifest[tensor].name + ": got " + std::to_string(got) +
                      " values, want " + std::to_string(want));
    }
  }
  UpdateBatch batch(updates, context);
  if (settings.normalise) RV_RETURN_IF_ERROR(batch.SetMetric());
  RV_RETURN_IF_ERROR(batch.SetFactors(settings));
  return batch;
}

absl::Status UpdateBatch::SetMetric() {
  const std::span<const double> rms = context_->tensor_rms;
  if (rms.size() != tensors()) {
    return BadBatch("robust.normalise: got the RMS of " + std::to_string(rms.size()) +
                    " tensors, want " + std::to_string(tensors()));
  }
  for (size_t tensor = 0; tensor < tensors(); ++tensor) {
    if (!(rms[tensor] > 0) || !std::isfinite(1 / rms[tensor])) {
      return BadBatch("robust.normalise: " + (*context_->manifest)[tensor].name + ": got RMS " +
                      std::to_string(rms[tensor]) + ", want a number above 0");
    }
    metric_.push_back(1 / rms[tensor]);
  }
  return absl::OkStatus();
}

// Bounds are in the units of the updates, not in those of the metric.
absl::Status UpdateBatch::SetFactors(const RobustSettings& settings) {
  const NormBounds bounds(settings.clip, settings.clip_a, settings.clip_b);
  if (!bounds.any()) return absl::OkStatus();
  std::vector<size_t> parts;
  for (const TensorSpec& spec : *context_->manifest) parts.push_back(bounds.PartOf(spec.name));
  constexpr size_t kParts = NormBounds::kParts;
  const std::vector<double> squares =
      Sums(n() * kParts, [&](const UpdatePiece& piece, double* sums) {
        for (size_t update = 0; update < n(); ++update) {
          sums[update * kParts + parts[piece.tensor]] += SquaredNorm(values(update, piece));
        }
      });
  RV_RETURN_IF_ERROR(CheckNumbers(squares));
  factors_.resize(n() * tensors());
  for (size_t update = 0; update < n(); ++update) {
    for (size_t tensor = 0; tensor < tensors(); ++tensor) {
      factors_[update * tensors() + tensor] =
          bounds.FactorOf(parts[tensor], squares[update * kParts + parts[tensor]]);
    }
  }
  return absl::OkStatus();
}

void UpdateBatch::Walk(size_t begin, size_t end, size_t most,
                       const std::function<void(const UpdatePiece&)>& visit) const {
  size_t tensor = static_cast<size_t>(std::upper_bound(offsets_.begin(), offsets_.end(), begin) -
                                      offsets_.begin()) -
                  1;
  while (begin < end) {
    if (begin == offsets_[tensor + 1]) {
      ++tensor;
      continue;
    }
    const size_t stop = std::min({end, offsets_[tensor + 1], begin + std::min(most, end - begin)});
    visit({tensor, begin - offsets_[tensor], stop - offsets_[tensor], begin});
    begin = stop;
  }
}

// How many of `items` a thread takes at least, so that no more threads run than are asked for.
size_t UpdateBatch::Grain(size_t items) const {
  if (context_->threads <= 0) return 1;
  const auto threads = static_cast<size_t>(context_->threads);
  return (items + threads - 1) / threads;
}

void UpdateBatch::ForEachPiece(const std::function<void(const UpdatePiece&)>& work) const {
  ParallelRanges(dimension(), std::max(Grain(dimension()), kLeastParallel),
                 [&](size_t begin, size_t end) { Walk(begin, end, kPiece, work); });
}

void UpdateBatch::ForEachStretch(const std::function<void(const UpdatePiece&)>& work) const {
  ParallelRanges(dimension(), std::max(Grain(dimension()), kLeastParallel),
                 [&](size_t begin, size_t end) { Walk(begin, end, end - begin, work); });
}

void UpdateBatch::ForEachPair(const std::function<void(size_t, size_t)>& work) const {
  ParallelRanges(n() * n(), Grain(n() * n()), [&](size_t begin, size_t end) {
    for (size_t at = begin; at < end; ++at) {
      if (at / n() < at % n()) work(at / n(), at % n());
    }
  });
}

std::vector<double> UpdateBatch::Sums(
    size_t width, const std::function<void(const UpdatePiece&, double*)>& work) const {
  std::vector<double> sums(kStripes * width);
  const size_t length = (dimension() + kStripes - 1) / kStripes;
  const size_t least = (kLeastParallel + length) / std::max<size_t>(length, 1);
  ParallelRanges(kStripes, std::max(Grain(kStripes), least), [&](size_t begin, size_t end) {
    for (size_t stripe = begin; stripe < end; ++stripe) {
      Walk(std::min(stripe * length, dimension()), std::min((stripe + 1) * length, dimension()),
           kPiece, [&](const UpdatePiece& piece) { work(piece, sums.data() + stripe * width); });
    }
  });
  for (size_t stripe = 1; stripe < kStripes; ++stripe) {
    for (size_t at = 0; at < width; ++at) sums[at] += sums[stripe * width + at];
  }
  sums.resize(width);
  return sums;
}

ParameterSet UpdateBatch::Produce(
    const std::function<void(const UpdatePiece&, double*)>& fill) const {
  ParameterSet result(*context_->manifest);
  ForEachPiece([&](const UpdatePiece& piece) {
    std::array<double, kPiece> values{};
    fill(piece, values.data());
    Write(result, piece, values.data());
  });
  return result;
}

void UpdateBatch::Write(ParameterSet& set, const UpdatePiece& piece, const double* values) {
  std::byte* const bytes = set.bytes(piece.tensor).data();
  if (set.manifest()[piece.tensor].dtype == DType::kF64) {
    std::memcpy(bytes + piece.begin * sizeof(double), values, piece.count() * sizeof(double));
    return;
  }
  float* const to = reinterpret_cast<float*>(bytes) + piece.begin;
  for (size_t at = 0; at < piece.count(); ++at) to[at] = static_cast<float>(values[at]);
}

void UpdateBatch::AddCombination(std::span<const double> weights, const UpdatePiece& piece,
                                 double* out) const {
  std::vector<const float*> rows(n());
  std::vector<double> scales(n());
  for (size_t update = 0; update < n(); ++update) {
    rows[update] = values(update, piece).data();
    scales[update] = weights[update] * factor(update, piece.tensor);
  }
  AddWeightedRows(rows, scales, piece.count(), out);
}

void UpdateBatch::AddCentre(const Centre& centre, const UpdatePiece& piece, double* out) const {
  if (centre.start != nullptr && centre.start_share != 0) {
    const float* const start = centre.start->floats(piece.tensor).data() + piece.begin;
    for (size_t at = 0; at < piece.count(); ++at) out[at] += centre.start_share * start[at];
  }
  if (!centre.shares.empty()) AddCombination(centre.shares, piece, out);
}

std::vector<double> UpdateBatch::SquaredNorms() const {
  return Sums(n(), [&](const UpdatePiece& piece, double* sums) {
    for (size_t update = 0; update < n(); ++update) {
      const double scale = factor(update, piece.tensor) * metric(piece.tensor);
      sums[update] += scale * scale * SquaredNorm(values(update, piece));
    }
  });
}

std::vector<double> UpdateBatch::SquaredDistancesTo(const Centre& centre) const {
  return Sums(n(), [&](const UpdatePiece& piece, double* sums) {
    std::array<double, kPiece> middle{};
    AddCentre(centre, piece, middle.data());
    const double square = metric(piece.tensor) * metric(piece.tensor);
    for (size_t update = 0; update < n(); ++update) {
      sums[update] += square * SquaredDistance(values(update, piece), factor(update, piece.tensor),
                                               middle.data());
    }
  });
}

absl::Status UpdateBatch::NotFinite() const {
  for (size_t update = 0; update < n(); ++update) {
    for (size_t tensor = 0; tensor < tensors(); ++tensor) {
      const std::span<const float> row = (*updates_)[update][tensor];
      const auto bad = std::find_if_not(row.begin(), row.end(),
                                        [](float value) { return std::isfinite(value); });
      if (bad == row.end()) continue;
      return BadBatch("update " + std::to_string(update) + ": " +
                      (*context_->manifest)[tensor].name + "[" + std::to_string(bad - row.begin()) +
                      "]: got " + std::to_string(*bad) + ", want a finite value");
    }
  }
  return Refuse(absl::StatusCode::kInternal, "robust rule: got an overflow, want finite numbers");
}

absl::Status UpdateBatch::CheckNumbers(std::span<const double> numbers) const {
  const bool finite = std::all_of(numbers.begin(), numbers.end(),
                                  [](double number) { return std::isfinite(number); });
  return finite ? absl::OkStatus() : NotFinite();
}

std::vector<UpdateVerdict> UpdateBatch::EqualVerdicts() const {
  std::vector<UpdateVerdict> verdicts(n());
  for (size_t update = 0; update < n(); ++update) {
    verdicts[update].weight = 1.0 / static_cast<double>(n());
    for (size_t tensor = 0; tensor < tensors(); ++tensor) {
      verdicts[update].factor = std::min(verdicts[update].factor, factor(update, tensor));
    }
  }
  return verdicts;
}

absl::StatusOr<std::vector<double>> WeightsOf(const UpdateBatch& batch) {
  const std::span<const int64_t> given = batch.context().weights;
  if (given.empty()) return std::vector<double>(batch.n(), 1.0);
  if (given.size() != batch.n()) {
    return BadBatch("robust rule: got " + std::to_string(given.size()) + " weights, want " +
                    std::to_string(batch.n()));
  }
  std::vector<double> weights;
  for (const int64_t weight : given) {
    if (weight < 1) return BadBatch("weight: got " + std::to_string(weight) + ", want >= 1");
    weights.push_back(static_cast<double>(weight));
  }
  return weights;
}

}  // namespace rivulet
