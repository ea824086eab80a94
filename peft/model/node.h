#pragma once

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>
#include <utility>

namespace rivulet {

// Hand-written backward passes are nodes of libtorch's graph. This small surface of it is the same
// in 1.13 and in 2.x. The node must not hold the tensor it is attached to (a cycle): keep
// output.detach().
template <typename Node, typename... Arguments>
std::shared_ptr<Node> MakeNode(Arguments&&... arguments) {
  return std::shared_ptr<Node>(new Node(std::forward<Arguments>(arguments)...),
                               torch::autograd::deleteNode);
}

// Makes `node` the origin of `output`, with gradients flowing on to `inputs` (undefined ones are
// allowed and get none).
inline void Attach(at::Tensor& output, const std::shared_ptr<torch::autograd::Node>& node,
                   const torch::autograd::variable_list& inputs) {
  node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  torch::autograd::create_gradient_edge(output, node);
}

inline bool NeedsGraph(const torch::autograd::variable_list& inputs) {
  if (!at::GradMode::is_enabled()) return false;
  for (const at::Tensor& input : inputs) {
    if (input.defined() && input.requires_grad()) return true;
  }
  return false;
}

}  // namespace rivulet
