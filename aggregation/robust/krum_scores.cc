#include "aggregation/robust/krum_scores.h"

#include <algorithm>
#include <numeric>

namespace rivulet {

KrumScores::KrumScores(const DistanceTable& distances, size_t f)
    : distances_(distances), f_(f), count_(distances.n), left_(distances.n, true) {
  for (size_t update = 0; update < distances.n; ++update) {
    std::vector<uint32_t> others;
    for (size_t other = 0; other < distances.n; ++other) {
      if (other != update) others.push_back(static_cast<uint32_t>(other));
    }
    std::stable_sort(others.begin(), others.end(), [&](uint32_t one, uint32_t two) {
      return distances.at(update, one) < distances.at(update, two);
    });
    nearest_.push_back(std::move(others));
  }
}

double KrumScores::Of(size_t update) const {
  size_t neighbours = std::max<size_t>(count_ > f_ + 2 ? count_ - f_ - 2 : 0, 1);
  double score = 0;
  for (const uint32_t other : nearest_[update]) {
    if (!left_[other]) continue;
    score += distances_.at(update, other);
    if (--neighbours == 0) break;
  }
  return score;
}

uint32_t KrumScores::Best() const {
  uint32_t best = 0;
  double least = 0;
  bool any = false;
  for (uint32_t update = 0; update < left_.size(); ++update) {
    if (!left_[update]) continue;
    const double score = Of(update);
    if (any && score >= least) continue;
    any = true;
    best = update;
    least = score;
  }
  return best;
}

void KrumScores::TakeOut(uint32_t update) {
  left_[update] = false;
  --count_;
}

absl::StatusOr<DistanceTable> DistancesFor(const RobustSettings& settings,
                                           const UpdateBatch& batch) {
  return settings.product_space ? ProductDistances(batch) : FlatDistances(batch);
}

absl::StatusOr<RobustResult> MeanOfBest(const RobustSettings& settings, const UpdateBatch& batch,
                                        size_t count) {
  RV_ASSIGN_OR_RETURN(const DistanceTable distances, DistancesFor(settings, batch));
  const KrumScores scores(distances, settings.f);
  RobustResult result;
  result.verdicts = batch.EqualVerdicts();
  for (size_t update = 0; update < batch.n(); ++update) {
    result.verdicts[update].score = scores.Of(update);
    result.verdicts[update].kept = false;
    result.verdicts[update].weight = 0;
  }
  result.order.resize(batch.n());
  std::iota(result.order.begin(), result.order.end(), 0);
  std::stable_sort(result.order.begin(), result.order.end(), [&](uint32_t one, uint32_t two) {
    return result.verdicts[one].score < result.verdicts[two].score;
  });
  result.order.resize(count);
  std::vector<double> chosen(batch.n());
  for (const uint32_t update : result.order) {
    result.verdicts[update].kept = true;
    result.verdicts[update].weight = 1.0 / static_cast<double>(count);
    chosen[update] = 1;
  }
  result.mean = batch.Produce([&](const UpdatePiece& piece, double* out) {
    batch.AddCombination(chosen, piece, out);
    for (size_t at = 0; at < piece.count(); ++at) out[at] /= static_cast<double>(count);
  });
  return result;
}

}  // namespace rivulet
