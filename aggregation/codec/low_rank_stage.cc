#include <algorithm>
#include <cstdlib>

#include "aggregation/codec/linear.h"
#include "aggregation/codec/low_rank_parts.h"

namespace rivulet {
namespace {

class LowRankLeft : public LinearStage {
 public:
  LowRankLeft(const Manifest& manifest, uint32_t rank, uint64_t root, uint64_t index)
      : parts_(LowRankPartsOf(manifest, rank)) {
    for (size_t position = 0; position < parts_.size(); ++position) {
      const LowRankPart& part = parts_[position];
      factors_.push_back(PublicFactor(part, position, root, index));
      size_ += part.size();
      output_ += part.rank == 0 ? part.size() : part.rank * part.rows;
    }
  }

  std::string_view name() const override { return "low-rank-left"; }
  size_t OutputSize(size_t) const override { return output_; }

  // The P^T of all matrices, then the other tensors.
  void Project(std::span<const float> flat, std::span<float> out) const override {
    if (flat.size() != size_ || out.size() != output_) std::abort();
    for (size_t position = 0; position < parts_.size(); ++position) {
      const LowRankPart& part = parts_[position];
      if (part.rank == 0) continue;
      const size_t length = part.rank * part.rows;
      MultiplyLeft(part, flat.data() + part.offset, factors_[position], out.first(length));
      out = out.subspan(length);
    }
    for (const LowRankPart& part : parts_) {
      if (part.rank != 0) continue;
      std::copy_n(flat.begin() + part.offset, part.size(), out.begin());
      out = out.subspan(part.size());
    }
  }

  void Expand(std::span<const float> mean, std::span<float> flat) const override {
    if (flat.size() != size_ || mean.size() != output_) std::abort();
    for (size_t position = 0; position < parts_.size(); ++position) {
      const LowRankPart& part = parts_[position];
      if (part.rank == 0) continue;
      const size_t length = part.rank * part.rows;
      MultiplyOut(part, mean.first(length), factors_[position], flat.data() + part.offset);
      mean = mean.subspan(length);
    }
    for (const LowRankPart& part : parts_) {
      if (part.rank != 0) continue;
      std::copy_n(mean.begin(), part.size(), flat.begin() + part.offset);
      mean = mean.subspan(part.size());
    }
  }

 private:
  std::vector<LowRankPart> parts_;
  std::vector<std::vector<float>> factors_;  // Q^T of each matrix
  size_t size_ = 0, output_ = 0;
};

}  // namespace

std::unique_ptr<LinearStage> NewLowRankLeft(const Manifest& manifest, uint32_t rank, uint64_t root,
                                            uint64_t index) {
  return std::make_unique<LowRankLeft>(manifest, rank, root, index);
}

}  // namespace rivulet
