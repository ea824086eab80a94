#include "aggregation/robust/coordinate_rule.h"

#include <atomic>

#include "aggregation/robust/columns.h"

namespace rivulet {

absl::StatusOr<RobustResult> MeanOfMiddleValues(const UpdateBatch& batch, size_t drop) {
  std::atomic<bool> finite = true;
  RobustResult result;
  result.mean = ParameterSet(*batch.context().manifest);
  batch.ForEachStretch([&](const UpdatePiece& stretch) {
    std::vector<const float*> rows(batch.n());
    std::vector<float> factors;
    for (size_t update = 0; update < batch.n(); ++update) {
      rows[update] = batch.values(update, stretch).data();
      if (!batch.clipped()) continue;
      factors.push_back(static_cast<float>(batch.factor(update, stretch.tensor)));
    }
    const auto write = [&](size_t first, std::span<const double> means) {
      const size_t begin = stretch.begin + first;
      UpdateBatch::Write(result.mean,
                         {stretch.tensor, begin, begin + means.size(), stretch.offset + first},
                         means.data());
    };
    if (!TrimmedMeans({rows, factors, stretch.count()}, drop, write)) finite = false;
  });
  if (!finite) return batch.NotFinite();
  result.verdicts = batch.EqualVerdicts();
  return result;
}

}  // namespace rivulet
