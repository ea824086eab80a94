#include "peft/model/dropout.h"

#include <ATen/ATen.h>

#include "peft/model/node.h"
#include "peft/model/tangent.h"

namespace rivulet {
namespace {

// A thread of its own pays from about so many elements on.
constexpr int64_t kGrain = 8192;

struct DropNode : torch::autograd::Node {
  kernels::DropoutMask mask;
  kernels::Workspace* workspace = nullptr;

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    return {Masked(mask, gradients[0].contiguous(), *workspace)};
  }
};

}  // namespace

std::optional<kernels::DropoutMask> MaskOf(const Pass& pass, uint32_t site, double rate) {
  if (!pass.dropout || rate <= 0) return std::nullopt;
  return kernels::DropoutMaskOf(*pass.dropout, site, rate);
}

at::Tensor Masked(const kernels::DropoutMask& mask, const at::Tensor& x,
                  kernels::Workspace& workspace, int64_t lanes) {
  at::Tensor y = at::empty_like(x);
  const int64_t count = x.numel() / lanes;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const float* from = x.data_ptr<float>() + lane * count;
    float* to = y.data_ptr<float>() + lane * count;
    const auto range = [&](int64_t first, int64_t last, kernels::Workspace&) {
      kernels::Dropout(mask, first, from + first, to + first, last - first);
    };
    kernels::Divide(workspace, count, kGrain, range);
  }
  return y;
}

at::Tensor DropoutFactors(const kernels::DropoutMask& mask, const at::Tensor& x, int64_t lanes) {
  at::Tensor factors = at::ones(x.sizes(), at::kFloat);
  const int64_t count = factors.numel() / lanes;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    float* values = factors.data_ptr<float>() + lane * count;
    kernels::Dropout(mask, 0, values, values, count);
  }
  return factors.to(x.device(), x.scalar_type());
}

at::Tensor Drop(const at::Tensor& x, uint32_t site, double rate, Pass& pass) {
  const auto mask = MaskOf(pass, site, rate);
  if (!mask) return x;
  if (!x.device().is_cpu() || x.scalar_type() != at::kFloat || !x.is_contiguous() ||
      HasTangent(x)) {
    return x * DropoutFactors(*mask, x, pass.lanes);
  }
  at::Tensor y = Masked(*mask, x.detach(), *pass.workspace, pass.lanes);
  if (NeedsGraph({x})) {
    auto node = MakeNode<DropNode>();
    node->mask = *mask;
    node->workspace = pass.workspace;
    Attach(y, node, {x});
  }
  return y;
}

}  // namespace rivulet
