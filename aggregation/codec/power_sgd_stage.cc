#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>

#include "aggregation/codec/kernels.h"
#include "aggregation/codec/linear.h"
#include "aggregation/codec/low_rank_parts.h"

namespace rivulet {
namespace {

// One tensor, with the factors that all parties have of it.
struct PowerPart {
  LowRankPart part;
  std::vector<float> q;  // Q^T [rank, columns]
  std::vector<float> p;  // P^T [rank, rows], orthonormal rows; in the second pass alone
};

std::vector<PowerPart> StartsOf(const Manifest& manifest, uint32_t rank, uint64_t root,
                                uint64_t index) {
  std::vector<PowerPart> parts;
  for (const LowRankPart& part : LowRankPartsOf(manifest, rank)) {
    parts.push_back({part, PublicFactor(part, parts.size(), root, index), {}});
  }
  return parts;
}

size_t FirstNumbers(std::span<const PowerPart> parts) {
  size_t numbers = 0;
  for (const PowerPart& one : parts) numbers += one.part.rank * one.part.rows;
  return numbers;
}

absl::Status CheckFirst(std::span<const float> mean, size_t wanted) {
  if (mean.size() != wanted) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "power-sgd: mean of the first pass: got " + std::to_string(mean.size()) +
                      " numbers, want " + std::to_string(wanted));
  }
  const auto bad =
      std::find_if_not(mean.begin(), mean.end(), [](float value) { return std::isfinite(value); });
  if (bad == mean.end()) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "power-sgd: mean of the first pass[" + std::to_string(bad - mean.begin()) +
                    "]: got " + std::to_string(*bad) + ", want a finite number");
}

// The same with P^ from the mean of the first pass.
absl::StatusOr<std::vector<PowerPart>> PairsOf(const Manifest& manifest, uint32_t rank,
                                               uint64_t root, uint64_t index,
                                               std::span<const float> first_mean) {
  std::vector<PowerPart> parts = StartsOf(manifest, rank, root, index);
  RV_RETURN_IF_ERROR(CheckFirst(first_mean, FirstNumbers(parts)));
  for (PowerPart& one : parts) {
    const std::span<const float> left = first_mean.first(one.part.rank * one.part.rows);
    one.p.assign(left.begin(), left.end());
    Orthonormalise(one.part.rank, one.p);
    first_mean = first_mean.subspan(left.size());
  }
  return parts;
}

// right -= (right Q) Q^T: what the first pass has summed already.
void TakeOutStart(const PowerPart& one, std::span<float> right) {
  const size_t columns = one.part.columns;
  for (size_t each = 0; each < one.part.rank; ++each) {
    float* const row = right.data() + each * columns;
    for (size_t other = 0; other < one.part.rank; ++other) {
      const float* const base = one.q.data() + other * columns;
      codec_kernels::AddScaled(row, base, -codec_kernels::Dot(row, base, columns), columns);
    }
  }
}

// The coordinator's: the same bits whatever its instruction set.
double InOrder(const float* a, const float* b, size_t n) {
  double sum = 0;
  for (size_t at = 0; at < n; ++at) sum += double{a[at]} * b[at];
  return sum;
}

class PowerSgdFirst : public LinearStage {
 public:
  explicit PowerSgdFirst(std::vector<PowerPart> parts)
      : parts_(std::move(parts)), output_(FirstNumbers(parts_)) {
    for (const PowerPart& one : parts_) size_ += one.part.size();
  }

  std::string_view name() const override { return "power-sgd-first"; }
  size_t OutputSize(size_t) const override { return output_; }

  void Project(std::span<const float> flat, std::span<float> out) const override {
    if (flat.size() != size_ || out.size() != output_) std::abort();
    for (const PowerPart& one : parts_) {
      const size_t length = one.part.rank * one.part.rows;
      MultiplyLeft(one.part, flat.data() + one.part.offset, one.q, out.first(length));
      out = out.subspan(length);
    }
  }

  void Expand(std::span<const float> mean, std::span<float> flat) const override {
    if (flat.size() != size_ || mean.size() != output_) std::abort();
    std::fill(flat.begin(), flat.end(), 0.0f);
  }

 private:
  std::vector<PowerPart> parts_;
  size_t size_ = 0, output_ = 0;
};

class PowerSgdSecond : public LinearStage {
 public:
  explicit PowerSgdSecond(std::vector<PowerPart> parts) : parts_(std::move(parts)) {
    for (const PowerPart& one : parts_) {
      size_ += one.part.size();
      output_ += LengthOf(one.part);
    }
  }

  std::string_view name() const override { return "power-sgd-second"; }
  size_t OutputSize(size_t) const override { return output_; }

  void Project(std::span<const float> flat, std::span<float> out) const override {
    if (flat.size() != size_ || out.size() != output_) std::abort();
    for (const PowerPart& one : parts_) {
      const std::span<float> now = out.first(LengthOf(one.part));
      out = out.subspan(now.size());
      const float* const values = flat.data() + one.part.offset;
      if (one.part.rank == 0) {
        std::copy_n(values, now.size(), now.begin());
        continue;
      }
      MultiplyRight(one.part, values, one.p, now);
      TakeOutStart(one, now);
    }
  }

  void Expand(std::span<const float> mean, std::span<float> flat) const override {
    if (flat.size() != size_ || mean.size() != output_) std::abort();
    for (const PowerPart& one : parts_) {
      const std::span<const float> now = mean.first(LengthOf(one.part));
      mean = mean.subspan(now.size());
      float* const values = flat.data() + one.part.offset;
      if (one.part.rank == 0) {
        std::copy(now.begin(), now.end(), values);
      } else {
        MultiplyOut(one.part, one.p, now, values);
      }
    }
  }

 private:
  static size_t LengthOf(const LowRankPart& part) {
    return part.rank == 0 ? part.size() : part.rank * part.columns;
  }

  std::vector<PowerPart> parts_;
  size_t size_ = 0, output_ = 0;
};

}  // namespace

std::unique_ptr<LinearStage> NewPowerSgdFirst(const Manifest& manifest, uint32_t rank,
                                              uint64_t root, uint64_t index) {
  return std::make_unique<PowerSgdFirst>(StartsOf(manifest, rank, root, index));
}

absl::StatusOr<std::unique_ptr<LinearStage>> NewPowerSgdSecond(const Manifest& manifest,
                                                               uint32_t rank, uint64_t root,
                                                               uint64_t index,
                                                               std::span<const float> first_mean) {
  RV_ASSIGN_OR_RETURN(std::vector<PowerPart> parts,
                      PairsOf(manifest, rank, root, index, first_mean));
  return std::make_unique<PowerSgdSecond>(std::move(parts));
}

absl::StatusOr<std::vector<float>> PowerSgdFirstPart(const Manifest& manifest, uint32_t rank,
                                                     uint64_t root, uint64_t index,
                                                     std::span<const float> first_mean,
                                                     std::span<const float> first) {
  RV_ASSIGN_OR_RETURN(const std::vector<PowerPart> parts,
                      PairsOf(manifest, rank, root, index, first_mean));
  RV_RETURN_IF_ERROR(CheckFirst(first, first_mean.size()));
  std::vector<float> flat(FlatNumbers(manifest));
  for (const PowerPart& one : parts) {
    const auto [offset, rows, columns, used] = one.part;
    if (used == 0) continue;
    std::vector<float> right(used * columns);  // (P^^T M Q) Q^T, transposed as all factors are
    for (size_t each = 0; each < used; ++each) {
      for (size_t other = 0; other < used; ++other) {
        const double inner = InOrder(one.p.data() + each * rows, first.data() + other * rows, rows);
        codec_kernels::AddScaled(right.data() + each * columns, one.q.data() + other * columns,
                                 static_cast<float>(inner), columns);
      }
    }
    MultiplyOut(one.part, one.p, right, flat.data() + offset);
    first = first.subspan(used * rows);
  }
  return flat;
}

}  // namespace rivulet
