#include "peft/model/tangent.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/forward_grad.h>

namespace rivulet {
namespace {

// libtorch has a single level, number 0, for the whole process, and only the last that was opened
// can be closed. It stays open: a tangent ends with its tensor.
uint64_t Level() {
  static const uint64_t level = torch::autograd::ForwardADLevel::get_next_idx();
  return level;
}

}  // namespace

at::Tensor WithTangent(const at::Tensor& primal, const at::Tensor& tangent) {
  return at::_make_dual(primal, tangent, static_cast<int64_t>(Level()));
}

at::Tensor TangentOf(const at::Tensor& tensor) { return tensor._fw_grad(Level()); }

bool HasTangent(const at::Tensor& tensor) {
  return tensor.defined() && tensor._fw_grad(0).defined();
}

}  // namespace rivulet
