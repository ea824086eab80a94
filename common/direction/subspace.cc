#include "common/direction/subspace.h"

#include <algorithm>
#include <cmath>

#include "common/direction/kernels.h"

namespace rivulet {
namespace {

// Of a vector's squared length: what is left beside those before it must be longer, or rounding
// would show.
constexpr double kLeastShare = 0x1p-10;

// w[i] = fma(scale, z[i], w[i]).
void AddScaledTo(float scale, std::span<const float> z, float* w) {
  direction_kernels::AddScaled(scale, z, w, w);
}

double DotOf(std::span<const float> x, const float* y) {
  direction_kernels::DotSums sums;
  direction_kernels::AddProducts(x, y, sums.sums);
  return sums.Total();
}

// Signs number * n, ... of the stream, n = out.size().
void FillSignVector(const RandomStream& stream, uint32_t tensor, uint64_t number,
                    std::span<float> out) {
  const uint64_t from = number * out.size();
  const uint64_t blocks = (from + out.size() - 1) / 128 - from / 128 + 1;
  std::vector<uint32_t> words(4 * blocks + 1);
  direction_kernels::FillWords(stream, tensor, from / 128, {words.data(), 4 * blocks});
  direction_kernels::FillSigns(words.data(), from % 128, false, out);
}

// sum [p, q] += factor * Z of direction `index`.
void AddNormals(uint64_t root, uint64_t index, uint32_t tensor, float factor,
                std::span<float> sum) {
  std::vector<float> normals(sum.size());
  RandomStream(root, Purpose::kDirection, index).FillGauss(tensor, normals);
  AddScaledTo(factor, normals, sum.data());
}

int64_t Taken(int rank, int64_t length) { return std::min<int64_t>(rank, length); }

// Of sqrt(m n / (p q)) U `inner` V^T, inner [p, q]: the left ones are the columns of U inner.
LowRankFactors ProductOf(const DirectionSettings& settings, uint64_t root, uint64_t index,
                         const TensorPart& matrix, std::span<const float> inner) {
  const uint64_t shared = index / static_cast<uint64_t>(settings.renewal);
  const RandomStream left(root, Purpose::kLeftFactor, shared);
  const RandomStream right(root, Purpose::kRightFactor, shared);
  const std::vector<float> u = OrthonormalSigns(left, matrix.tensor, settings.rank, matrix.rows);
  LowRankFactors factors;
  factors.right = OrthonormalSigns(right, matrix.tensor, settings.rank, matrix.columns);
  const auto m = static_cast<size_t>(matrix.rows), n = static_cast<size_t>(matrix.columns);
  const size_t p = u.size() / m, q = factors.right.size() / n;
  const auto scale = static_cast<float>(
      std::sqrt(static_cast<double>(matrix.elements()) / static_cast<double>(p * q)));
  factors.left.resize(q * m);
  for (size_t k = 0; k < p; ++k) {
    for (size_t l = 0; l < q; ++l) {
      AddScaledTo(scale * inner[k * q + l], {u.data() + k * m, m}, factors.left.data() + l * m);
    }
  }
  return factors;
}

// Numbers of Z.
size_t InnerSize(int rank, const TensorPart& matrix) {
  return static_cast<size_t>(Taken(rank, matrix.rows) * Taken(rank, matrix.columns));
}

// out = elements part.first, ... of the sum of left_l right_l^T, l ascending.
void FillProducts(const LowRankFactors& factors, const TensorPart& part, std::span<float> out) {
  const auto m = static_cast<size_t>(part.rows), n = static_cast<size_t>(part.columns);
  const size_t q = factors.right.size() / n;
  std::fill(out.begin(), out.end(), 0.0f);
  auto at = static_cast<size_t>(part.first);
  while (!out.empty()) {
    const size_t row = at / n, column = at % n, count = std::min(n - column, out.size());
    for (size_t l = 0; l < q; ++l) {
      AddScaledTo(factors.left[l * m + row], {factors.right.data() + l * n + column, count},
                  out.data());
    }
    at += count;
    out = out.subspan(count);
  }
}

}  // namespace

std::vector<float> OrthonormalSigns(const RandomStream& stream, uint32_t tensor, int rank,
                                    int64_t length) {
  const auto n = static_cast<size_t>(length);
  const auto wanted = static_cast<size_t>(Taken(rank, length));
  std::vector<float> vectors(wanted * n);
  if (wanted == n) {
    for (size_t k = 0; k < n; ++k) vectors[k * n + k] = 1;
    return vectors;
  }
  // At least half of all sign vectors lie outside of a span that is not everything.
  size_t found = 0;
  for (uint64_t number = 0; found < wanted; ++number) {
    const std::span<float> next(vectors.data() + found * n, n);
    FillSignVector(stream, tensor, number, next);
    for (size_t k = 0; k < found; ++k) {
      const std::span<const float> before(vectors.data() + k * n, n);
      AddScaledTo(static_cast<float>(-DotOf(before, next.data())), before, next.data());
    }
    const double square = DotOf(next, next.data());
    if (square < kLeastShare * static_cast<double>(n)) continue;
    const auto factor = static_cast<float>(1 / std::sqrt(square));
    for (float& value : next) value *= factor;
    ++found;
  }
  return vectors;
}

SubspaceDirection::SubspaceDirection(const DirectionSettings& settings, uint64_t root,
                                     uint64_t index)
    : settings_(settings), root_(root), index_(index) {}

LowRankFactors SubspaceDirection::Factors(const TensorPart& matrix) const {
  std::vector<float> inner(InnerSize(settings_.rank, matrix));
  AddNormals(root_, index_, matrix.tensor, 1, inner);
  return ProductOf(settings_, root_, index_, matrix, inner);
}

std::shared_ptr<const SubspaceDirection::Made> SubspaceDirection::Over(
    const TensorPart& matrix) const {
  const std::lock_guard lock(mutex_);
  const bool same = made_ != nullptr && made_->matrix.tensor == matrix.tensor &&
                    made_->matrix.rows == matrix.rows && made_->matrix.columns == matrix.columns;
  if (!same) made_ = std::make_shared<const Made>(Made{matrix, Factors(matrix)});
  return made_;
}

void SubspaceDirection::Fill(const TensorPart& part, std::span<float> out) const {
  FillProducts(Over(part)->factors, part, out);
}

void AddInSubspace(const DirectionSettings& settings, uint64_t root,
                   std::span<const uint64_t> indices, std::span<const float> factors,
                   const TensorPart& matrix, std::span<float> w) {
  std::vector<float> inner(InnerSize(settings.rank, matrix));
  for (size_t j = 0; j < indices.size(); ++j) {
    AddNormals(root, indices[j], matrix.tensor, factors[j], inner);
  }
  const LowRankFactors sum = ProductOf(settings, root, indices[0], matrix, inner);
  std::vector<float> row(static_cast<size_t>(matrix.columns));
  TensorPart part = matrix;
  for (; !w.empty(); w = w.subspan(row.size())) {
    FillProducts(sum, part, row);
    AddScaledTo(1, row, w.data());
    part.first += matrix.columns;
  }
}

}  // namespace rivulet
