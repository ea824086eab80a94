#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "aggregation/robust/rule.h"

namespace rivulet {

// Coordinates [begin, end) of one tensor, at most UpdateBatch::kPiece of them.
struct UpdatePiece {
  size_t tensor = 0;
  size_t begin = 0;
  size_t end = 0;
  size_t offset = 0;  // of `begin` in the flat vector

  size_t count() const { return end - begin; }
};

// A point among the updates: start_share * start + sum_i shares[i] factor(i, t) x_i.
struct Centre {
  const ParameterSet* start = nullptr;  // F32, of the shapes of the manifest; nullptr = zero
  double start_share = 0;
  std::vector<double> shares;  // one for each update; empty = none
};

// The updates of one call, their shapes checked, and what the settings make of them: x_i is stood
// for by factor(i, t) times its values, and norms are taken after every tensor was multiplied by
// metric(t). Borrows the updates and the context.
class UpdateBatch {
 public:
  static constexpr size_t kPiece = 1024;

  // Errors: as RobustRule::Aggregate.
  static absl::StatusOr<UpdateBatch> Make(const RobustSettings& settings,
                                          const std::vector<UpdateView>& updates,
                                          const RobustContext& context);

  size_t n() const { return updates_->size(); }
  size_t tensors() const { return context_->manifest->size(); }
  size_t dimension() const { return offsets_.back(); }
  const RobustContext& context() const { return *context_; }

  std::span<const float> values(size_t update, const UpdatePiece& piece) const {
    return (*updates_)[update][piece.tensor].subspan(piece.begin, piece.count());
  }
  // What `clip` and its kin leave of the tensor; 1 without them.
  double factor(size_t update, size_t tensor) const {
    return factors_.empty() ? 1.0 : factors_[update * tensors() + tensor];
  }
  bool clipped() const { return !factors_.empty(); }
  double metric(size_t tensor) const { return metric_.empty() ? 1.0 : metric_[tensor]; }

  // Calls work(piece) for pieces that cover everything, side by side; of a stretch there is as much
  // of one tensor as a thread has to do of it.
  void ForEachPiece(const std::function<void(const UpdatePiece&)>& work) const;
  void ForEachStretch(const std::function<void(const UpdatePiece&)>& work) const;

  // Calls work(i, j) for all i < j < n, side by side.
  void ForEachPair(const std::function<void(size_t, size_t)>& work) const;

  // Sums of `width` numbers: work(piece, sums) adds those of a piece. The flat vector is cut into
  // kStripes equal stretches, each summed in order, then their sums in order: the same bits for any
  // number of threads.
  static constexpr size_t kStripes = 16;
  std::vector<double> Sums(size_t width,
                           const std::function<void(const UpdatePiece&, double*)>& work) const;

  // A parameter set of the context's manifest; fill(piece, out) adds to piece.count() zeros.
  ParameterSet Produce(const std::function<void(const UpdatePiece&, double*)>& fill) const;
  // piece.count() numbers as the values of `set`, which has the context's manifest.
  static void Write(ParameterSet& set, const UpdatePiece& piece, const double* values);

  // sum_i weights[i] factor(i, t) x_i of a piece, added to out in the order of the updates.
  void AddCombination(std::span<const double> weights, const UpdatePiece& piece, double* out) const;
  void AddCentre(const Centre& centre, const UpdatePiece& piece, double* out) const;

  // |x_i|^2 in the metric, for every update; not finite exactly when a value is not.
  std::vector<double> SquaredNorms() const;
  // |x_i - centre|^2 in the metric. One pass over the updates: no centre is kept.
  std::vector<double> SquaredDistancesTo(const Centre& centre) const;

  // The error that names the first value which is NaN or infinite; Internal when there is none.
  absl::Status NotFinite() const;
  // OK when all of `numbers` are finite, else NotFinite().
  absl::Status CheckNumbers(std::span<const double> numbers) const;

  // kept, 1/n, score 0, the factor of each update.
  std::vector<UpdateVerdict> EqualVerdicts() const;

 private:
  UpdateBatch(const std::vector<UpdateView>& updates, const RobustContext& context);
  absl::Status SetMetric();
  absl::Status SetFactors(const RobustSettings& settings);
  // The pieces of [begin, end) of the flat vector, of at most `most` coordinates.
  void Walk(size_t begin, size_t end, size_t most,
            const std::function<void(const UpdatePiece&)>& visit) const;
  size_t Grain(size_t items) const;

  const std::vector<UpdateView>* updates_;
  const RobustContext* context_;
  std::vector<size_t> offsets_;  // of each tensor in the flat vector, and the end
  std::vector<double> factors_;  // [n, tensors] or empty
  std::vector<double> metric_;   // [tensors] or empty
};

// The weights of a context as doubles, or n ones. Errors: InvalidArgument for a wrong number of
// them or one below 1.
absl::StatusOr<std::vector<double>> WeightsOf(const UpdateBatch& batch);

}  // namespace rivulet
