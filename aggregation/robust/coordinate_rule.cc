#include "aggregation/robust/coordinate_rule.h"

#include <atomic>

#include "aggregation/robust/columns.h"

namespace rivulet {

static_assert(Batch::kPiece <= kMostColumns);

absl::StatusOr<RobustResult> MeanOfMiddleValues(const Batch& batch, size_t drop) {
  std::atomic<bool> finite = true;
  RobustResult result;
  result.mean = batch.Produce([&](const Piece& piece, double* out) {
    std::vector<const float*> rows(batch.n());
    std::vector<float> factors;
    for (size_t update = 0; update < batch.n(); ++update) {
      rows[update] = batch.values(update, piece).data();
      if (!batch.clipped()) continue;
      factors.push_back(static_cast<float>(batch.factor(update, piece.tensor)));
    }
    if (!TrimmedMeans({rows, factors, piece.count()}, drop, out)) finite = false;
  });
  if (!finite) return batch.NotFinite();
  result.verdicts = batch.EqualVerdicts();
  return result;
}

}  // namespace rivulet
