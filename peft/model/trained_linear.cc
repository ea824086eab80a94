#include <ATen/ATen.h>

#include "peft/kernels/gemm.h"
#include "peft/model/example_gradients.h"
#include "peft/model/node.h"
#include "peft/model/ops.h"

namespace rivulet {
namespace {

kernels::Matrix WholeMatrix(const at::Tensor& t) { return {t.data_ptr<float>(), t.stride(0), 1}; }

struct TrainedLinearNode : torch::autograd::Node {
  at::Tensor x, weight, bias;
  ExampleGradients* examples = nullptr;
  kernels::Workspace* workspace = nullptr;

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    const at::Tensor dy = gradients[0].contiguous();
    const int64_t rows = x.size(0), inputs = weight.size(1), outputs = weight.size(0);
    examples->Add(weight, {dy, 0, outputs}, {x, 0, inputs});
    if (bias.defined() && examples->Trains(bias)) {
      examples->Add(bias, {at::ones({rows, 1}, at::kFloat), 0, 1}, {dy, 0, outputs});
    }
    if (!task_should_compute_output(0)) return {at::Tensor(), at::Tensor(), at::Tensor()};
    at::Tensor dx = at::empty_like(x);
    kernels::Multiply(rows, inputs, outputs, WholeMatrix(dy), WholeMatrix(weight),
                      dx.data_ptr<float>(), inputs, false, *workspace);
    return {dx, at::Tensor(), at::Tensor()};
  }
  void release_variables() override { x = weight = bias = at::Tensor(); }
};

}  // namespace

at::Tensor LinearByLane(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (weight.dim() == 2) return at::linear(x, weight, bias);
  const at::Tensor lanes = x.reshape({weight.size(0), -1, x.size(1)});
  at::Tensor y = at::matmul(lanes, weight.transpose(1, 2));
  if (bias.defined()) y = y + bias.unsqueeze(1);
  return y.flatten(0, 1);
}

at::Tensor TrainedLinear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                         Pass& pass) {
  if (!pass.examples) return LinearByLane(x, weight, bias);
  TORCH_CHECK(x.device().is_cpu() && x.scalar_type() == at::kFloat &&
                  weight.scalar_type() == at::kFloat && weight.is_contiguous(),
              "gradients of single examples are there for fp32 on the CPU alone");
  const at::Tensor rows = x.contiguous();
  at::Tensor y = at::empty({rows.size(0), weight.size(0)}, at::kFloat);
  const kernels::Product product = {WholeMatrix(rows), Transposed(WholeMatrix(weight)),
                                    weight.size(1)};
  kernels::Gemm({rows.size(0),
                 weight.size(0),
                 {&product, 1},
                 y.data_ptr<float>(),
                 weight.size(0),
                 bias.defined() ? bias.data_ptr<float>() : nullptr},
                *pass.workspace);
  if (NeedsGraph({x, weight, bias})) {
    auto node = MakeNode<TrainedLinearNode>();
    node->x = rows.detach();
    node->weight = weight.detach();
    if (bias.defined()) node->bias = bias.detach();
    node->examples = pass.examples;
    node->workspace = pass.workspace;
    Attach(y, node, {x, weight, bias});
  }
  return y;
}

}  // namespace rivulet
