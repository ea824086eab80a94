#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common/direction/direction.h"

// Directions one element at a time, as docs/formats/randomness.md writes them.

namespace rivulet::testing {

inline int SignAt(const RandomStream& stream, uint32_t tensor, uint64_t i) {
  return stream.Block(i >> 7, tensor).word[(i >> 5) & 3] >> (i & 31) & 1 ? -1 : 1;
}

inline float GaussAt(const RandomStream& stream, uint32_t tensor, uint64_t i) {
  float block[4];
  stream.FillGauss(tensor, block, i >> 2);
  return block[i & 3];
}

inline float ElementAt(const DirectionSettings& settings, uint64_t root, uint64_t index,
                       const TensorPart& part, int64_t i) {
  const RandomStream dense(root, Purpose::kDirection, index);
  if (settings.kind == DirectionKind::kRademacher) return SignAt(dense, part.tensor, i);
  if (settings.kind == DirectionKind::kGauss) return GaussAt(dense, part.tensor, i);
  if (settings.kind == DirectionKind::kFlipped) {
    const auto shared = index / static_cast<uint64_t>(settings.renewal);
    return SignAt(RandomStream(root, Purpose::kBaseTensor, shared), part.tensor, i) *
           SignAt(RandomStream(root, Purpose::kSignPairs, 2 * index), part.tensor,
                  i / part.columns) *
           SignAt(RandomStream(root, Purpose::kSignPairs, 2 * index + 1), part.tensor,
                  i % part.columns);
  }
  const RandomStream left(root, Purpose::kLeftFactor, index);
  const RandomStream right(root, Purpose::kRightFactor, index);
  int sum = 0;
  for (int k = 0; k < settings.rank; ++k) {
    sum += SignAt(left, part.tensor, k * part.rows + i / part.columns) *
           SignAt(right, part.tensor, k * part.columns + i % part.columns);
  }
  return static_cast<float>(sum) *
         static_cast<float>(1 / std::sqrt(static_cast<double>(settings.rank)));
}

// Sum of products as docs/formats/randomness.md has it: sixteen sums, then by halves.
inline double DotOf(const std::vector<float>& x, const std::vector<float>& y) {
  double sums[16] = {};
  for (size_t i = 0; i < x.size(); ++i) sums[i % 16] += double{x[i]} * double{y[i]};
  for (int half : {8, 4, 2, 1}) {
    for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

// Gram and Schmidt over the sign vectors of a stream; unit vectors where they would span
// everything.
inline std::vector<std::vector<float>> BasisOf(const RandomStream& stream, uint32_t tensor,
                                               int rank, int64_t length) {
  std::vector<std::vector<float>> basis;
  const auto size = static_cast<size_t>(std::min<int64_t>(rank, length));
  for (uint64_t number = 0; basis.size() < size; ++number) {
    std::vector<float> v(static_cast<size_t>(length));
    for (size_t i = 0; i < v.size(); ++i) {
      v[i] = rank >= length ? static_cast<float>(i == number)
                            : static_cast<float>(SignAt(stream, tensor, number * v.size() + i));
    }
    for (const std::vector<float>& u : basis) {
      const auto along = static_cast<float>(-DotOf(u, v));
      for (size_t i = 0; i < v.size(); ++i) v[i] = std::fma(along, u[i], v[i]);
    }
    const double square = DotOf(v, v);
    if (square < static_cast<double>(length) / 1024 && rank < length) continue;
    const auto factor = static_cast<float>(1 / std::sqrt(square));
    for (float& value : v) value *= factor;
    basis.push_back(std::move(v));
  }
  return basis;
}

// All elements of z over a whole tensor.
inline std::vector<float> WholeOf(const DirectionSettings& settings, uint64_t root, uint64_t index,
                                  const TensorPart& part) {
  std::vector<float> z(static_cast<size_t>(part.elements()));
  if (settings.kind != DirectionKind::kSubspace) {
    for (size_t i = 0; i < z.size(); ++i) {
      z[i] = ElementAt(settings, root, index, part, static_cast<int64_t>(i));
    }
    return z;
  }
  const uint64_t shared = index / static_cast<uint64_t>(settings.renewal);
  const auto u = BasisOf(RandomStream(root, Purpose::kLeftFactor, shared), part.tensor,
                         settings.rank, part.rows);
  const auto v = BasisOf(RandomStream(root, Purpose::kRightFactor, shared), part.tensor,
                         settings.rank, part.columns);
  const RandomStream inner(root, Purpose::kDirection, index);
  const auto scale = static_cast<float>(
      std::sqrt(static_cast<double>(part.elements()) / static_cast<double>(u.size() * v.size())));
  for (size_t i = 0; i < z.size(); ++i) {
    const size_t row = i / static_cast<size_t>(part.columns);
    const size_t column = i % static_cast<size_t>(part.columns);
    for (size_t l = 0; l < v.size(); ++l) {
      float left = 0;
      for (size_t k = 0; k < u.size(); ++k) {
        left = std::fma(scale * GaussAt(inner, part.tensor, k * v.size() + l), u[k][row], left);
      }
      z[i] = std::fma(left, v[l][column], z[i]);
    }
  }
  return z;
}

}  // namespace rivulet::testing
