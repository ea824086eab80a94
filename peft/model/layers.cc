#include "peft/model/layers.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "peft/model/node.h"

namespace rivulet {
namespace {

at::Tensor Activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::kRelu:
      return at::relu(x);
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kSwish:
      return at::silu(x);
    case Activation::kTanh:
      return at::tanh(x);
  }
  std::abort();
}

struct CheckpointNode : torch::autograd::Node {
  at::Tensor x;
  std::function<at::Tensor(const at::Tensor&)> body;

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    const at::AutoGradMode enabled(true);
    const at::Tensor again = x.detach();
    again.set_requires_grad(task_should_compute_output(0));
    const at::Tensor y = body(again);
    if (!y.requires_grad()) return {at::Tensor()};  // nothing is trained in it or before it
    torch::autograd::backward({y}, {gradients[0]});
    return {again.grad()};
  }
  void release_variables() override {
    x = at::Tensor();
    body = nullptr;
  }
};

}  // namespace

at::Tensor BottleneckOutput(const Bottleneck& adapter, const at::Tensor& x, Pass& pass) {
  const at::Tensor inner = TrainedLinear(x, adapter.down_weight, adapter.down_bias, pass);
  return TrainedLinear(Activate(adapter.activation, inner), adapter.up_weight, adapter.up_bias,
                       pass);
}

at::Tensor Checkpointed(const at::Tensor& x, const Pass& pass,
                        std::function<at::Tensor(const at::Tensor&)> body) {
  if (!pass.checkpointing || !at::GradMode::is_enabled()) return body(x);
  at::Tensor y;
  {
    const at::NoGradGuard off;
    y = body(x);
  }
  auto node = MakeNode<CheckpointNode>();
  node->x = x.detach();
  node->body = std::move(body);
  Attach(y, node, {x});
  return y;
}

}  // namespace rivulet
