#include "peft/model/tangent.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/forward_grad.h>

namespace rivulet {
namespace {

// libtorch has a single level for the whole process, and only the last that was opened can be
// closed. It stays open: a tangent ends with its tensor.
constexpr uint64_t kLevel = 0;
void OpenLevel() {
  static const uint64_t level = torch::autograd::ForwardADLevel::get_next_idx();
  TORCH_CHECK(level == kLevel, "somebody else differentiates forwards in this process");
}

}  // namespace

at::Tensor WithTangent(const at::Tensor& primal, const at::Tensor& tangent) {
  OpenLevel();
  return at::_make_dual(primal, tangent, static_cast<int64_t>(kLevel));
}

at::Tensor TangentOf(const at::Tensor& tensor) { return tensor._fw_grad(kLevel); }

bool HasTangent(const at::Tensor& tensor) {
  return tensor.defined() && tensor._fw_grad(kLevel).defined();
}

}  // namespace rivulet
