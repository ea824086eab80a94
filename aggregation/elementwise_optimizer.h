#pragma once

#include <array>
#include <atomic>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "aggregation/parallel.h"
#include "aggregation/server_optimizer.h"

namespace rivulet {

// A number kept for every coordinate between rounds.
struct OptimizerSlot {
  std::string_view name;
  double initial = 0;
};

// Values of tensor `index`, an F32 or F64 one, as T.
template <typename T>
T* ValuesOf(ParameterSet& set, size_t index) {
  return reinterpret_cast<T*>(set.bytes(index).data());
}
template <typename T>
const T* ValuesOf(const ParameterSet& set, size_t index) {
  return reinterpret_cast<const T*>(set.bytes(index).data());
}

// Everything about a server optimiser but its rule for one coordinate. Rule has
//   static constexpr std::string_view kName;
//   static constexpr size_t kSlots;
//   std::array<OptimizerSlot, kSlots> Slots() const;   // in byte order of their names
//   // Returns the new coordinate, updates slot[0 .. kSlots).
//   double Move(double x, double mean_delta, double* slot) const;
// The state has the slots one after the other, each with all tensors, and the dtypes of the model.
template <typename Rule>
class ElementwiseOptimizer : public ServerOptimizer {
 public:
  ElementwiseOptimizer(Rule rule, const Manifest& manifest) : rule_(rule), manifest_(manifest) {
    for (const TensorSpec& spec : manifest_) {
      ends_.push_back(ends_.back() + static_cast<size_t>(spec.elements()));
    }
    Manifest rows;
    for (const OptimizerSlot& slot : rule_.Slots()) {
      for (TensorSpec spec : manifest_) {
        spec.name = std::string(Rule::kName) + "." + std::string(slot.name) + ":" + spec.name;
        rows.push_back(std::move(spec));
      }
    }
    state_ = ParameterSet(std::move(rows));
    for (size_t row = 0; row < state_.size(); ++row) Fill(row);
  }

  std::string_view name() const override { return Rule::kName; }
  const ParameterSet& State() const override { return state_; }

  absl::Status Restore(ParameterSet state) override {
    RV_RETURN_IF_ERROR(SameManifest(state.manifest(), state_.manifest()));
    RV_RETURN_IF_ERROR(CheckFinite(state));
    state_ = std::move(state);
    return absl::OkStatus();
  }

  absl::Status Apply(const ParameterSet& mean_delta, ParameterSet& global) override {
    RV_RETURN_IF_ERROR(SameManifest(mean_delta.manifest(), manifest_));
    RV_RETURN_IF_ERROR(SameManifest(global.manifest(), manifest_));
    // First a look, then the move: what is refused has changed nothing, and nothing is copied.
    RV_RETURN_IF_ERROR(Look(mean_delta, global));
    ParallelTensors(ends_, kGrain, [&](size_t tensor, size_t begin, size_t end) {
      (void)MoveAny<true>(tensor, mean_delta, global, begin, end);
    });
    return absl::OkStatus();
  }

 private:
  void Fill(size_t row) {
    const double initial = rule_.Slots()[row / manifest_.size()].initial;
    const TensorSpec& spec = state_.manifest()[row];
    for (int64_t index = 0; index < spec.elements(); ++index) {
      if (spec.dtype == DType::kF64) {
        ValuesOf<double>(state_, row)[index] = initial;
      } else {
        ValuesOf<float>(state_, row)[index] = static_cast<float>(initial);
      }
    }
  }

  // One tensor of everything.
  template <typename T>
  struct Tensor {
    const T* delta;
    T* x;
    std::array<T*, Rule::kSlots + 1> kept;  // one more: no array of length 0
    size_t size;
  };

  template <typename T>
  Tensor<T> At(size_t tensor, const ParameterSet& mean_delta, ParameterSet& global) {
    Tensor<T> at{ValuesOf<T>(mean_delta, tensor),
                 ValuesOf<T>(global, tensor),
                 {},
                 static_cast<size_t>(manifest_[tensor].elements())};
    for (size_t slot = 0; slot < Rule::kSlots; ++slot) {
      at.kept[slot] = ValuesOf<T>(state_, slot * manifest_.size() + tensor);
    }
    return at;
  }

  // Coordinates [begin, end); without kStore nothing changes. False when a result is not finite.
  template <typename T, bool kStore>
  bool Move(const Tensor<T>& at, size_t begin, size_t end) const {
    bool finite = true;
    for (size_t index = begin; index < end; ++index) {
      std::array<double, Rule::kSlots + 1> slots;
      for (size_t slot = 0; slot < Rule::kSlots; ++slot) slots[slot] = at.kept[slot][index];
      const T next = static_cast<T>(rule_.Move(at.x[index], at.delta[index], slots.data()));
      finite &= std::isfinite(next);
      for (size_t slot = 0; slot < Rule::kSlots; ++slot) {
        const T kept = static_cast<T>(slots[slot]);
        finite &= std::isfinite(kept);
        if (kStore) at.kept[slot][index] = kept;
      }
      if (kStore) at.x[index] = next;
    }
    return finite;
  }

  // The same of tensor `tensor`, whatever its element type.
  template <bool kStore>
  bool MoveAny(size_t tensor, const ParameterSet& mean_delta, ParameterSet& global, size_t begin,
               size_t end) {
    return manifest_[tensor].dtype == DType::kF64
               ? Move<double, kStore>(At<double>(tensor, mean_delta, global), begin, end)
               : Move<float, kStore>(At<float>(tensor, mean_delta, global), begin, end);
  }

  // Whether all would stay finite. Errors: OutOfRange naming the first that would not.
  absl::Status Look(const ParameterSet& mean_delta, ParameterSet& global) {
    std::atomic<size_t> first_bad = manifest_.size();
    ParallelTensors(ends_, kGrain, [&](size_t tensor, size_t begin, size_t end) {
      if (MoveAny<false>(tensor, mean_delta, global, begin, end)) return;
      for (size_t before = first_bad;
           tensor < before && !first_bad.compare_exchange_weak(before, tensor);) {
      }
    });
    if (first_bad == manifest_.size()) return absl::OkStatus();
    return manifest_[first_bad].dtype == DType::kF64
               ? FirstBad<double>(first_bad, mean_delta, global)
               : FirstBad<float>(first_bad, mean_delta, global);
  }

  template <typename T>
  absl::Status FirstBad(size_t tensor, const ParameterSet& mean_delta, ParameterSet& global) {
    const Tensor<T> at = At<T>(tensor, mean_delta, global);
    size_t bad = 0;
    while (bad + 1 < at.size && Move<T, false>(at, bad, bad + 1)) ++bad;
    return NotFinite(tensor, static_cast<int64_t>(bad), at.x[bad], at.delta[bad]);
  }

  absl::Status NotFinite(size_t tensor, int64_t index, double x, double delta) const {
    return Refuse(absl::StatusCode::kOutOfRange,
                  std::string(Rule::kName) + ": " + manifest_[tensor].name + "[" +
                      std::to_string(index) + "]: got " + std::to_string(x) + " moved by " +
                      std::to_string(delta) + ", want a finite result");
  }

  static constexpr size_t kGrain = size_t{1} << 18;  // coordinates that are worth a thread

  Rule rule_;
  Manifest manifest_;
  std::vector<size_t> ends_ = {0};  // of the tensors, counted through; see ParallelTensors
  ParameterSet state_;
};

// `value`, or `fallback` where the section leaves the choice to the strategy.
inline double LearningRateOr(double value, double fallback) { return value > 0 ? value : fallback; }
inline double Beta1Or(double value, double fallback) { return value >= 0 ? value : fallback; }

template <typename Rule>
std::unique_ptr<ServerOptimizer> NewElementwise(Rule rule, const Manifest& manifest) {
  return std::make_unique<ElementwiseOptimizer<Rule>>(rule, manifest);
}

}  // namespace rivulet
