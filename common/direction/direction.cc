#include "common/direction/direction.h"

#include <algorithm>

#include "common/direction/flipped.h"
#include "common/direction/kernels.h"
#include "common/direction/low_rank.h"
#include "common/direction/subspace.h"

namespace rivulet {
namespace {

constexpr int64_t kBlockSigns = 128;  // elements of a block of words
// What is drawn at once: 16 blocks of signs, the widest vector. 8 KiB of z stay in the first cache.
constexpr size_t kPiece = 2048;

class RademacherDirection : public Direction {
 public:
  RademacherDirection(uint64_t root, uint64_t index) : stream_(root, Purpose::kDirection, index) {}

  void Fill(const TensorPart& part, std::span<float> out) const override {
    uint32_t words[kPiece / 32 + 5] = {};  // a block for an odd start, a word to read beyond
    uint64_t at = static_cast<uint64_t>(part.first);
    while (!out.empty()) {
      const size_t count = std::min(out.size(), kPiece);
      const uint64_t block = at / kBlockSigns;
      const uint64_t blocks = (at + count - 1) / kBlockSigns - block + 1;
      direction_kernels::FillWords(stream_, part.tensor, block, {words, 4 * blocks});
      direction_kernels::FillSigns(words, at % kBlockSigns, false, out.first(count));
      at += count;
      out = out.subspan(count);
    }
  }

 private:
  RandomStream stream_;
};

class GaussDirection : public Direction {
 public:
  GaussDirection(uint64_t root, uint64_t index) : stream_(root, Purpose::kDirection, index) {}

  void Fill(const TensorPart& part, std::span<float> out) const override {
    uint64_t block = static_cast<uint64_t>(part.first) / 4;
    const size_t skipped = static_cast<size_t>(part.first % 4);
    if (skipped > 0 && !out.empty()) {
      float head[4];
      direction_kernels::FillGauss(stream_, part.tensor, block++, head);
      const size_t count = std::min(out.size(), 4 - skipped);
      std::copy_n(head + skipped, count, out.begin());
      out = out.subspan(count);
    }
    direction_kernels::FillGauss(stream_, part.tensor, block, out);
  }

 private:
  RandomStream stream_;
};

// Gives `body` (offset, z) for pieces of z one after the other.
template <typename Body>
void ForPieces(const Direction& direction, TensorPart part, size_t n, Body body) {
  alignas(64) float z[kPiece];
  for (size_t offset = 0; offset < n; offset += kPiece) {
    const std::span<float> piece(z, std::min(kPiece, n - offset));
    direction.Fill(part, piece);
    body(offset, piece);
    part.first += static_cast<int64_t>(kPiece);
  }
}

}  // namespace

std::vector<TensorPart> PartsOf(const Manifest& manifest) {
  std::vector<TensorPart> parts;
  for (const TensorSpec& spec : manifest) {
    TensorPart part{static_cast<uint32_t>(parts.size()), spec.elements(), 1, 0};
    if (spec.shape.size() == 2) part.rows = spec.shape[0], part.columns = spec.shape[1];
    parts.push_back(part);
  }
  return parts;
}

std::unique_ptr<const Direction> MakeDirection(const DirectionSettings& settings, uint64_t root,
                                               uint64_t index) {
  switch (settings.kind) {
    case DirectionKind::kGauss:
      return std::make_unique<GaussDirection>(root, index);
    case DirectionKind::kLowRank:
      return std::make_unique<LowRankDirection>(LowRankDirectionOf(settings, root, index));
    case DirectionKind::kSubspace:
      return std::make_unique<SubspaceDirection>(settings, root, index);
    case DirectionKind::kFlipped:
      return std::make_unique<FlippedDirection>(settings, root, index);
    default:
      return std::make_unique<RademacherDirection>(root, index);
  }
}

void AddDirection(const Direction& direction, const TensorPart& part, float scale,
                  std::span<float> w) {
  AddDirection(direction, part, scale, w, w);
}

void AddDirection(const Direction& direction, const TensorPart& part, float scale,
                  std::span<uint16_t> w) {
  ForPieces(direction, part, w.size(), [&](size_t offset, std::span<const float> z) {
    direction_kernels::AddScaled(scale, z, w.data() + offset);
  });
}

void AddDirection(const Direction& direction, const TensorPart& part, float scale,
                  std::span<const float> base, std::span<float> out) {
  ForPieces(direction, part, out.size(), [&](size_t offset, std::span<const float> z) {
    direction_kernels::AddScaled(scale, z, base.data() + offset, out.data() + offset);
  });
}

double DotDirection(const Direction& direction, const TensorPart& part, std::span<const float> g) {
  direction_kernels::DotSums sums;
  ForPieces(direction, part, g.size(), [&](size_t offset, std::span<const float> z) {
    direction_kernels::AddProducts(z, g.data() + offset, sums.sums);
  });
  return sums.Total();
}

}  // namespace rivulet
