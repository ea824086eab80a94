#include "aggregation/codec/rotation.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "aggregation/codec/kernels.h"
#include "common/tensor/large_pages.h"

namespace rivulet {
namespace {

template <typename T>
void RequirePowerOfTwo(std::span<T> data) {
  if (!std::has_single_bit(data.size())) std::abort();
}

class Rotation : public LinearStage {
 public:
  Rotation(int block_log2, std::shared_ptr<const PublicWords> signs)
      : block_size_(size_t{1} << block_log2), signs_(std::move(signs)) {}

  std::string_view name() const override { return "rotation"; }
  size_t OutputSize(size_t d) const override {
    return (d + block_size_ - 1) / block_size_ * block_size_;
  }

  void Project(std::span<const float> flat, std::span<float> out) const override {
    if (out.size() != OutputSize(flat.size())) std::abort();
    const RotatedBlocks blocks(flat.size(), block_size_, *signs_);
    for (size_t first = 0; first < blocks.count(); first += RotatedBlocks::kTogether) {
      const size_t count = std::min(RotatedBlocks::kTogether, blocks.count() - first);
      blocks.Project(flat, first, count, out.data() + first * block_size_);
    }
  }

  void Expand(std::span<const float> mean, std::span<float> flat) const override {
    if (mean.size() != OutputSize(flat.size())) std::abort();
    const RotatedBlocks blocks(flat.size(), block_size_, *signs_);
    std::vector<float, LargePages<float>> work(RotatedBlocks::kTogether * block_size_);
    for (size_t first = 0; first < blocks.count(); first += RotatedBlocks::kTogether) {
      const size_t count = std::min(RotatedBlocks::kTogether, blocks.count() - first);
      const std::span<const float> part = mean.subspan(first * block_size_, count * block_size_);
      std::copy(part.begin(), part.end(), work.begin());
      blocks.Expand(work.data(), first, count, flat);
    }
  }

 private:
  size_t block_size_;
  std::shared_ptr<const PublicWords> signs_;
};

}  // namespace

void RotatedBlocks::Flip(float* block, size_t position) const {
  const float factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(size_)));
  uint32_t words[128];
  for (size_t at = 0; at < size_; at += 32 * std::size(words)) {
    const size_t numbers = std::min(size_ - at, 32 * std::size(words));
    const uint64_t bit = position * size_ + at;  // blocks below 32 numbers share a word
    const std::span<uint32_t> some = std::span(words).first((numbers + 31) / 32);
    signs_.Fill(bit / 32, some);
    if (bit % 32 != 0) some[0] >>= bit % 32;
    codec_kernels::FlipAndScale(block + at, numbers, words, factor);
  }
}

void RotatedBlocks::Project(std::span<const float> flat, size_t first, size_t count,
                            float* out) const {
  codec_kernels::Deal({d_, count_, size_}, flat.data(), first, count, out);
  for (size_t block = 0; block < count; ++block) {
    float* const at = out + block * size_;
    Flip(at, first + block);
    codec_kernels::Hadamard(at, size_);
  }
}

void RotatedBlocks::Expand(float* blocks, size_t first, size_t count, std::span<float> flat) const {
  for (size_t block = 0; block < count; ++block) {
    float* const at = blocks + block * size_;
    codec_kernels::Hadamard(at, size_);
    Flip(at, first + block);
  }
  codec_kernels::Collect({d_, count_, size_}, blocks, first, count, flat.data());
}

size_t RotationBlockFor(size_t d, uint32_t block_log2) {
  return std::min(size_t{1} << block_log2, std::bit_ceil(std::max<size_t>(d, 1)));
}

absl::StatusOr<std::unique_ptr<LinearStage>> NewRotation(int block_log2,
                                                         std::shared_ptr<const PublicWords> signs) {
  if (block_log2 < 0 || block_log2 > 24) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "block-log2: got " + std::to_string(block_log2) + ", want 0..24");
  }
  return std::make_unique<Rotation>(block_log2, std::move(signs));
}

void WalshHadamard(std::span<float> data) {
  RequirePowerOfTwo(data);
  codec_kernels::Hadamard(data.data(), data.size());
}

void WalshHadamard(std::span<double> data) {
  RequirePowerOfTwo(data);
  for (size_t h = 1; h < data.size(); h *= 2) {
    for (size_t base = 0; base < data.size(); base += 2 * h) {
      for (size_t at = base; at < base + h; ++at) {
        const double a = data[at], b = data[at + h];
        data[at] = a + b;
        data[at + h] = a - b;
      }
    }
  }
}

}  // namespace rivulet
