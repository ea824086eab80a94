#include <algorithm>
#include <cmath>

#include "aggregation/robust/krum_scores.h"

namespace rivulet {
namespace {

// The values of one coordinate of the selected updates, ascending by index.
class NearestMedian {
 public:
  explicit NearestMedian(size_t selected) : values_(selected), sorted_(selected), keys_(selected) {}

  double& value(size_t position) { return values_[position]; }

  // The mean of the `count` values nearest the median; of two as near, that of the lower index.
  double MeanOf(size_t count) {
    const double median = Median();
    for (size_t at = 0; at < values_.size(); ++at) {
      keys_[at] = {std::fabs(values_[at] - median), at};
    }
    const auto last = keys_.begin() + static_cast<ptrdiff_t>(count - 1);
    std::nth_element(keys_.begin(), last, keys_.end());
    const std::pair<double, size_t> farthest = *last;
    double sum = 0;
    for (size_t at = 0; at < values_.size(); ++at) {
      const std::pair<double, size_t> key(std::fabs(values_[at] - median), at);
      if (key <= farthest) sum += values_[at];
    }
    return sum / static_cast<double>(count);
  }

 private:
  double Median() {
    sorted_ = values_;
    const size_t middle = sorted_.size() / 2;
    std::sort(sorted_.begin(), sorted_.end());
    return sorted_.size() % 2 == 1 ? sorted_[middle] : (sorted_[middle - 1] + sorted_[middle]) / 2;
  }

  std::vector<double> values_;
  std::vector<double> sorted_;
  std::vector<std::pair<double, size_t>> keys_;
};

class BulyanRule : public RuleBase {
 public:
  using RuleBase::RuleBase;

 private:
  absl::StatusOr<RobustResult> Combine(const UpdateBatch& batch) const override {
    RV_ASSIGN_OR_RETURN(const DistanceTable distances, DistancesFor(settings(), batch));
    RobustResult result = Select(batch, distances);
    std::vector<uint32_t> selected = result.order;
    std::sort(selected.begin(), selected.end());
    const size_t beta = selected.size() - 2 * static_cast<size_t>(settings().f);
    result.mean = batch.Produce([&](const UpdatePiece& piece, double* out) {
      NearestMedian column(selected.size());
      for (size_t at = 0; at < piece.count(); ++at) {
        for (size_t position = 0; position < selected.size(); ++position) {
          const uint32_t update = selected[position];
          column.value(position) =
              batch.factor(update, piece.tensor) * batch.values(update, piece)[at];
        }
        out[at] = column.MeanOf(beta);
      }
    });
    return result;
  }

  // theta = n - 2f times: Krum among those that are left, and its choice moves out.
  RobustResult Select(const UpdateBatch& batch, const DistanceTable& distances) const {
    const size_t theta = batch.n() - 2 * static_cast<size_t>(settings().f);
    KrumScores scores(distances, settings().f);
    RobustResult result;
    result.verdicts = batch.EqualVerdicts();
    for (UpdateVerdict& verdict : result.verdicts) verdict.kept = false;
    while (result.order.size() < theta) {
      const uint32_t best = scores.Best();
      result.order.push_back(best);
      result.verdicts[best].kept = true;
      result.verdicts[best].score = scores.Of(best);
      if (result.order.size() < theta) scores.TakeOut(best);
    }
    for (size_t update = 0; update < batch.n(); ++update) {
      UpdateVerdict& verdict = result.verdicts[update];
      verdict.weight = verdict.kept ? 1.0 / static_cast<double>(theta) : 0.0;
      if (!verdict.kept) verdict.score = scores.Of(update);
    }
    return result;
  }
};

}  // namespace

RulePointer NewBulyan(const RobustSettings& settings, UpdatesNeeded needed) {
  return std::make_unique<BulyanRule>("bulyan", needed, settings);
}

}  // namespace rivulet
