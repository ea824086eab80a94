#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/random.h"
#include "common/tensor/parameter_set.h"

// Random directions z over the tensors of a manifest, with E[z z^T] = I. A direction is an address
// and is never stored: every use draws it again, and every machine draws the same bits
// (docs/formats/randomness.md).

namespace rivulet {

enum class DirectionKind {
  kRademacher,  // +1 or -1 each
  kGauss,       // standard normal
  kLowRank,     // for a matrix of m x n: 1 / sqrt(r) times the sum of r products a b^T of signs
  kSubspace,    // for a matrix: normal within the span of r rows and r columns (subspace.h)
  kFlipped,     // for a matrix: signs that others share, flipped by row and by column (flipped.h)
};

struct DirectionSettings {
  DirectionKind kind = DirectionKind::kRademacher;
  int rank = 1;  // kLowRank, kSubspace: r, 1..1024
  // So many directions in a row share their right factors b (kLowRank: LOZO, Chen et al. 2024),
  // their subspace (kSubspace), or what they flip (kFlipped); >= 1.
  int renewal = 1;
};

// Elements first, first + 1, ... of a tensor in C order.
struct TensorPart {
  uint32_t tensor = 0;  // position in the manifest
  int64_t rows = 1;     // m; a tensor that is no matrix has all its elements as rows
  int64_t columns = 1;  // n
  int64_t first = 0;

  int64_t elements() const { return rows * columns; }  // of the whole tensor
};
// The whole tensors of `manifest`, in its order.
std::vector<TensorPart> PartsOf(const Manifest& manifest);

// Immutable; safe from many threads.
class Direction {
 public:
  virtual ~Direction() = default;
  // out[i] = element part.first + i of z, which depends neither on part.first nor on out.size().
  virtual void Fill(const TensorPart& part, std::span<float> out) const = 0;
};

// Direction number `index` of `root`.
std::unique_ptr<const Direction> MakeDirection(const DirectionSettings& settings, uint64_t root,
                                               uint64_t index);

// One pass over the numbers each, z coming and going in pieces that stay in the first cache.
//
// w[i] = fma(scale, z[i], w[i]).
void AddDirection(const Direction& direction, const TensorPart& part, float scale,
                  std::span<float> w);
// The same on bfloat16: computed in binary32, rounded to nearest even. What is below |w| / 512 is
// lost (docs/formats/randomness.md).
void AddDirection(const Direction& direction, const TensorPart& part, float scale,
                  std::span<uint16_t> w);
// out[i] = fma(scale, z[i], base[i]); `base` [n] keeps its bits, so that nothing is to be restored.
void AddDirection(const Direction& direction, const TensorPart& part, float scale,
                  std::span<const float> base, std::span<float> out);
// Sum of g[i] z[i] in double, in an order that is the same on every machine.
double DotDirection(const Direction& direction, const TensorPart& part, std::span<const float> g);

}  // namespace rivulet
