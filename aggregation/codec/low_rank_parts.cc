#include "aggregation/codec/low_rank_parts.h"

#include <algorithm>
#include <cmath>

#include "aggregation/codec/kernels.h"
#include "common/random.h"

namespace rivulet {

std::vector<LowRankPart> LowRankPartsOf(const Manifest& manifest, uint32_t rank) {
  std::vector<LowRankPart> parts;
  size_t offset = 0;
  for (const TensorSpec& spec : manifest) {
    const auto size = static_cast<size_t>(spec.elements());
    const size_t rows = spec.shape.size() < 2 ? 1 : static_cast<size_t>(spec.shape[0]);
    const size_t columns = rows == 0 ? 0 : size / rows;
    const size_t used = std::min<size_t>({rank, rows, columns});
    parts.push_back({offset, rows, columns, used * (rows + columns) < size ? used : 0});
    offset += size;
  }
  return parts;
}

std::vector<float> PublicFactor(const LowRankPart& part, size_t position, uint64_t root,
                                uint64_t index) {
  std::vector<float> factor(part.rank * part.columns);
  RandomStream(root, Purpose::kSketch, index).FillGauss(static_cast<uint32_t>(position), factor);
  Orthonormalise(part.rank, factor);
  return factor;
}

void Orthonormalise(size_t rank, std::span<float> factor) {
  if (rank == 0) return;
  const size_t length = factor.size() / rank;
  std::vector<double> rows(factor.begin(), factor.end());
  const auto dot = [length](const double* a, const double* b) {
    double sum = 0;
    for (size_t at = 0; at < length; ++at) sum += a[at] * b[at];
    return sum;
  };
  for (size_t row = 0; row < rank; ++row) {
    double* const own = rows.data() + row * length;
    const double before = std::sqrt(dot(own, own));
    for (size_t other = 0; other < 2 * row; ++other) {
      const double* const base = rows.data() + other % row * length;
      const double part = dot(own, base);
      for (size_t at = 0; at < length; ++at) own[at] -= part * base[at];
    }
    const double norm = std::sqrt(dot(own, own));
    const double factor_of_row = norm > 1e-9 * before ? 1 / norm : 0.0;
    for (size_t at = 0; at < length; ++at) own[at] *= factor_of_row;
  }
  std::transform(rows.begin(), rows.end(), factor.begin(),
                 [](double value) { return static_cast<float>(value); });
}

void MultiplyLeft(const LowRankPart& part, const float* matrix, std::span<const float> q,
                  std::span<float> left) {
  for (size_t row = 0; row < part.rows; ++row) {
    for (size_t each = 0; each < part.rank; ++each) {
      left[each * part.rows + row] = codec_kernels::Dot(
          matrix + row * part.columns, q.data() + each * part.columns, part.columns);
    }
  }
}

void MultiplyRight(const LowRankPart& part, const float* matrix, std::span<const float> p,
                   std::span<float> right) {
  std::fill(right.begin(), right.end(), 0.0f);
  for (size_t row = 0; row < part.rows; ++row) {
    for (size_t each = 0; each < part.rank; ++each) {
      codec_kernels::AddScaled(right.data() + each * part.columns, matrix + row * part.columns,
                               p[each * part.rows + row], part.columns);
    }
  }
}

void MultiplyOut(const LowRankPart& part, std::span<const float> p, std::span<const float> r,
                 float* matrix) {
  std::fill_n(matrix, part.size(), 0.0f);
  for (size_t row = 0; row < part.rows; ++row) {
    for (size_t each = 0; each < part.rank; ++each) {
      codec_kernels::AddScaled(matrix + row * part.columns, r.data() + each * part.columns,
                               p[each * part.rows + row], part.columns);
    }
  }
}

}  // namespace rivulet
