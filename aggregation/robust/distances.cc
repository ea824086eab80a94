#include "aggregation/robust/distances.h"

#include <algorithm>
#include <string>
#include <utility>

#include "aggregation/robust/kernels.h"

namespace rivulet {
namespace {

constexpr double kCancelled = 1e-6;

using IndexPair = std::pair<size_t, size_t>;

std::vector<double> ScaledGram(const UpdateBatch& batch) {
  const size_t n = batch.n();
  return batch.Sums(n * n, [&](const UpdatePiece& piece, double* sums) {
    std::vector<double> scratch(n * kGramStride);
    std::vector<double> gram(n * n);
    std::vector<const float*> rows(n);
    for (size_t done = 0; done < piece.count(); done += kGramColumns) {
      for (size_t row = 0; row < n; ++row) rows[row] = batch.values(row, piece).data() + done;
      AddGram(rows, std::min(kGramColumns, piece.count() - done), scratch.data(), gram.data());
    }
    const double square = batch.metric(piece.tensor) * batch.metric(piece.tensor);
    for (size_t first = 0; first < n; ++first) {
      const double scale = square * batch.factor(first, piece.tensor);
      for (size_t second = first; second < n; ++second) {
        sums[first * n + second] +=
            scale * batch.factor(second, piece.tensor) * gram[first * n + second];
      }
    }
  });
}

// The pairs again, from the differences.
void Recompute(const UpdateBatch& batch, const std::vector<IndexPair>& pairs,
               DistanceTable& table) {
  if (pairs.empty()) return;
  const std::vector<double> squares =
      batch.Sums(pairs.size(), [&](const UpdatePiece& piece, double* sums) {
        const double square = batch.metric(piece.tensor) * batch.metric(piece.tensor);
        for (size_t at = 0; at < pairs.size(); ++at) {
          const auto [first, second] = pairs[at];
          sums[at] += square * SquaredDifference(batch.values(first, piece),
                                                 batch.factor(first, piece.tensor),
                                                 batch.values(second, piece).data(),
                                                 batch.factor(second, piece.tensor));
        }
      });
  for (size_t at = 0; at < pairs.size(); ++at) {
    table.Set(pairs[at].first, pairs[at].second, squares[at]);
  }
}

}  // namespace

absl::StatusOr<DistanceTable> FlatDistances(const UpdateBatch& batch) {
  const size_t n = batch.n();
  const std::vector<double> gram = ScaledGram(batch);
  RV_RETURN_IF_ERROR(batch.CheckNumbers(gram));
  DistanceTable table{n, std::vector<double>(n * n)};
  std::vector<IndexPair> cancelled;
  for (size_t first = 0; first < n; ++first) {
    for (size_t second = first + 1; second < n; ++second) {
      const double norms = gram[first * n + first] + gram[second * n + second];
      const double square = std::max(norms - 2 * gram[first * n + second], 0.0);
      table.Set(first, second, square);
      if (square < kCancelled * norms) cancelled.push_back({first, second});
    }
  }
  Recompute(batch, cancelled, table);
  return table;
}

}  // namespace rivulet
