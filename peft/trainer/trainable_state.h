#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "common/tensor/parameter_set.h"

namespace rivulet {

// The tensors of `state` (all F32) where they lie, one a row of its manifest: to be read alone, as
// long as it lives.
std::vector<at::Tensor> TensorsIn(const ParameterSet& state);

// One client's trained numbers as flat fp32 buffers, in manifest order without gaps: values,
// gradient, and views of both as leaves of autograd, so that the optimiser is one loop. Not thread
// safe.
class TrainableState {
 public:
  enum class Gradient { kKept, kNone };  // kNone: values alone, for passes without autograd
  // Copies the values of `global` (all F32).
  explicit TrainableState(const ParameterSet& global, Gradient gradient = Gradient::kKept);

  int64_t size() const { return values_.numel(); }
  std::span<const at::Tensor> leaves() const { return leaves_; }
  float* values() { return values_.data_ptr<float>(); }
  float* gradient() { return gradient_.data_ptr<float>(); }
  void ClearGradient();
  // FedProx (Li et al. 2020): mu (w - w_t) joins the gradient, w_t being `global`.
  void AddProximal(const ParameterSet& global, double mu);

  // values minus `global`, same manifest.
  ParameterSet DeltaFrom(const ParameterSet& global) const;

 private:
  at::Tensor values_, gradient_;    // [size]
  std::vector<at::Tensor> leaves_;  // one a tensor; their gradients are views of gradient_
};

}  // namespace rivulet
