#pragma once

#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

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
    ParameterSet moved = global;
    ParameterSet state = state_;
    for (size_t tensor = 0; tensor < manifest_.size(); ++tensor) {
      RV_RETURN_IF_ERROR(manifest_[tensor].dtype == DType::kF64
                             ? MoveTensor<double>(tensor, mean_delta, moved, state)
                             : MoveTensor<float>(tensor, mean_delta, moved, state));
    }
    global = std::move(moved);
    state_ = std::move(state);
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

  template <typename T>
  absl::Status MoveTensor(size_t tensor, const ParameterSet& mean_delta, ParameterSet& moved,
                          ParameterSet& state) const {
    T* x = ValuesOf<T>(moved, tensor);
    const T* delta = ValuesOf<T>(mean_delta, tensor);
    std::array<T*, Rule::kSlots> kept;
    for (size_t slot = 0; slot < kept.size(); ++slot) {
      kept[slot] = ValuesOf<T>(state, slot * manifest_.size() + tensor);
    }
    const int64_t size = manifest_[tensor].elements();
    for (int64_t index = 0; index < size; ++index) {
      std::array<double, Rule::kSlots + 1> slots;  // one more: no array of length 0
      for (size_t slot = 0; slot < kept.size(); ++slot) slots[slot] = kept[slot][index];
      const T next = static_cast<T>(rule_.Move(x[index], delta[index], slots.data()));
      bool finite = std::isfinite(next);
      for (size_t slot = 0; slot < kept.size(); ++slot) {
        kept[slot][index] = static_cast<T>(slots[slot]);
        finite = finite && std::isfinite(kept[slot][index]);
      }
      if (!finite) return NotFinite(tensor, index, x[index], delta[index]);
      x[index] = next;
    }
    return absl::OkStatus();
  }

  absl::Status NotFinite(size_t tensor, int64_t index, double x, double delta) const {
    return Refuse(absl::StatusCode::kOutOfRange,
                  std::string(Rule::kName) + ": " + manifest_[tensor].name + "[" +
                      std::to_string(index) + "]: got " + std::to_string(x) + " moved by " +
                      std::to_string(delta) + ", want a finite result");
  }

  Rule rule_;
  Manifest manifest_;
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
