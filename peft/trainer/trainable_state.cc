#include "peft/trainer/trainable_state.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace rivulet {

std::vector<at::Tensor> TensorsIn(const ParameterSet& state) {
  std::vector<at::Tensor> views;
  for (size_t row = 0; row < state.size(); ++row) {
    float* const place = const_cast<float*>(state.floats(row).data());  // only read
    views.push_back(at::from_blob(place, state.manifest()[row].shape, at::kFloat));
  }
  return views;
}

TrainableState::TrainableState(const ParameterSet& global, Gradient gradient) {
  int64_t total = 0;
  for (const TensorSpec& spec : global.manifest()) total += spec.elements();
  values_ = at::empty({total}, at::kFloat);
  const bool kept = gradient == Gradient::kKept;
  gradient_ = at::zeros({kept ? total : 0}, at::kFloat);
  int64_t offset = 0;
  for (size_t i = 0; i < global.size(); ++i) {
    const TensorSpec& spec = global.manifest()[i];
    const std::span<const float> from = global.floats(i);
    std::copy(from.begin(), from.end(), values() + offset);
    at::Tensor leaf = values_.narrow(0, offset, spec.elements()).view(spec.shape).detach();
    if (kept) {
      leaf.set_requires_grad(true);
      leaf.mutable_grad() = gradient_.narrow(0, offset, spec.elements()).view(spec.shape);
    }
    leaves_.push_back(std::move(leaf));
    offset += spec.elements();
  }
}

void TrainableState::ClearGradient() { std::fill_n(gradient(), size(), 0.0f); }

void TrainableState::AddProximal(const ParameterSet& global, double mu) {
  const float factor = static_cast<float>(mu);
  float* gradient = this->gradient();
  const float* value = values();
  for (size_t i = 0; i < global.size(); ++i) {
    for (float received : global.floats(i)) *gradient++ += factor * (*value++ - received);
  }
}

ParameterSet TrainableState::DeltaFrom(const ParameterSet& global) const {
  ParameterSet delta(global.manifest());
  const float* value = values_.data_ptr<float>();
  for (size_t i = 0; i < global.size(); ++i) {
    const std::span<const float> from = global.floats(i);
    const std::span<float> to = delta.floats(i);
    for (size_t j = 0; j < to.size(); ++j) to[j] = *value++ - from[j];
  }
  return delta;
}

}  // namespace rivulet
