#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "peft/kernels/gemm.h"
#include "peft/kernels/softmax.h"
#include "peft/model/dropout.h"
#include "peft/model/example_gradients.h"
#include "peft/model/node.h"
#include "peft/model/ops.h"
#include "peft/model/tangent.h"

namespace rivulet {
namespace {

using kernels::Matrix;
using kernels::Product;
using torch::autograd::variable_list;

Matrix Rows(const at::Tensor& t) { return {t.data_ptr<float>(), t.stride(0), 1}; }
Matrix Columns(const Matrix& rows, int64_t first) {
  return {rows.data + first, rows.row_stride, 1, rows.tiles.From(first)};
}
Matrix Columns(const at::Tensor& t, int64_t first) { return Columns(Rows(t), first); }

// left * weight [k, n]; the weight may be bf16.
Product Times(Matrix left, const at::Tensor& weight, int64_t k) {
  if (weight.scalar_type() != at::kBFloat16) return {left, Rows(weight), k};
  return {left, {nullptr, weight.stride(0), 1}, k, static_cast<const uint16_t*>(weight.data_ptr())};
}
// left * transpose of weight [n, k].
Product TimesTransposed(Matrix left, const at::Tensor& weight, int64_t k) {
  Product product = Times(left, weight, k);
  product.b = Transposed(product.b);
  return product;
}

// A member as the backward pass needs it, its tensors detached.
struct Member {
  at::Tensor weight, a, b;
  int64_t column = 0;       // of its output
  int64_t rank_column = 0;  // of its hidden values
  double scale = 1;
  std::optional<kernels::DropoutMask> mask;

  int64_t outputs() const { return weight.size(0); }
  int64_t rank() const { return a.defined() ? a.size(0) : 0; }
  // left * right of low-rank factors: as the map beside them, it may round.
  Product Beside(Matrix left, Matrix right, int64_t k) const {
    return {left, right, k, nullptr, weight.scalar_type() == at::kBFloat16};
  }
};

// What a member adds to the inputs of the node, after x.
enum Input { kWeight, kBias, kA, kB, kInputsOfMember };
size_t InputOf(size_t member, Input input) { return 1 + kInputsOfMember * member + input; }

// Everything of a group that does not depend on the values of x.
struct Group {
  std::vector<Member> members;
  int64_t inputs = 0, outputs = 0, rank = 0;
  bool drops = false;

  // The rows of `t`, which every map reads; in tiles where the maps are bf16.
  Matrix Shared(const at::Tensor& t, kernels::Workspace& workspace) const {
    Matrix rows = Rows(t);
    if (members[0].weight.scalar_type() == at::kBFloat16) {
      rows.tiles = kernels::ToTiles(t.size(0), t.size(1), rows, workspace.tiles, workspace);
    }
    return rows;
  }
};

// That of one lane, where each has its own [rows, columns].
at::Tensor OfLane(const at::Tensor& matrix, int64_t lane) {
  return matrix.dim() == 3 ? matrix.select(0, lane) : matrix;
}

Group GroupOf(std::span<const Linear> linears, const Pass& pass, int64_t lane = 0) {
  Group group;
  group.inputs = linears[0].weight.size(1);
  for (const Linear& linear : linears) {
    Member member;
    member.weight = linear.weight.detach();
    member.column = group.outputs;
    member.rank_column = group.rank;
    if (const LowRank* low_rank = linear.low_rank) {
      member.a = OfLane(low_rank->a, lane).detach();
      member.b = OfLane(low_rank->b, lane).detach();
      member.scale = low_rank->scale;
      member.mask = MaskOf(pass, low_rank->site, low_rank->dropout);
    }
    group.drops |= member.mask.has_value();
    group.outputs += member.outputs();
    group.rank += member.rank();
    group.members.push_back(std::move(member));
  }
  return group;
}

// hidden [rows, rank] = scale * A drop(x), the members side by side.
at::Tensor HiddenOf(const Group& group, const at::Tensor& x, const Matrix& rows,
                    kernels::Workspace& workspace) {
  at::Tensor hidden = at::empty({x.size(0), group.rank}, at::kFloat);
  if (group.rank == 0) return hidden;
  // Without dropout one product over stacked factors reads x once.
  at::Tensor stacked = at::empty({group.rank, group.inputs}, at::kFloat);
  float* stack = stacked.data_ptr<float>();
  for (const Member& member : group.members) {
    const int64_t count = member.rank() * group.inputs;
    if (count == 0) continue;
    float* to = stack + member.rank_column * group.inputs;
    std::copy_n(member.a.data_ptr<float>(), count, to);
    kernels::ScaleRow(to, count, static_cast<float>(member.scale));
    if (group.drops) {
      const at::Tensor masked = member.mask ? Masked(*member.mask, x, workspace) : at::Tensor();
      kernels::Multiply(
          x.size(0), member.rank(),
          member.Beside(member.mask ? Rows(masked) : rows, {to, 1, group.inputs}, group.inputs),
          hidden.data_ptr<float>() + member.rank_column, group.rank, false, workspace);
    }
  }
  if (!group.drops) {
    kernels::Multiply(x.size(0), group.rank,
                      group.members[0].Beside(rows, {stack, 1, group.inputs}, group.inputs),
                      hidden.data_ptr<float>(), group.rank, false, workspace);
  }
  return hidden;
}

void Forward(const Group& group, std::span<const Linear> linears, const Matrix& x,
             const at::Tensor& hidden, at::Tensor& y, kernels::Workspace& workspace) {
  for (size_t i = 0; i < group.members.size(); ++i) {
    const Member& member = group.members[i];
    Product products[2] = {TimesTransposed(x, member.weight, group.inputs)};
    size_t count = 1;
    if (member.rank() > 0) {
      products[count++] = member.Beside(Columns(hidden, member.rank_column),
                                        Transposed(Rows(member.b)), member.rank());
    }
    const at::Tensor& bias = linears[i].bias;
    kernels::Gemm({y.size(0),
                   member.outputs(),
                   {products, count},
                   y.data_ptr<float>() + member.column,
                   group.outputs,
                   bias.defined() ? bias.data_ptr<float>() : nullptr,
                   false},
                  workspace);
  }
}

// y += the low-rank terms alone.
void AddLowRank(const Group& group, const at::Tensor& hidden, at::Tensor& y,
                kernels::Workspace& workspace) {
  for (const Member& member : group.members) {
    if (member.rank() == 0) continue;
    kernels::Multiply(y.size(0), member.outputs(),
                      member.Beside(Columns(hidden, member.rank_column), Transposed(Rows(member.b)),
                                    member.rank()),
                      y.data_ptr<float>() + member.column, group.outputs, true, workspace);
  }
}

struct ProjectNode : torch::autograd::Node {
  Group group;
  at::Tensor x, hidden;
  kernels::Workspace* workspace = nullptr;
  ExampleGradients* examples = nullptr;

  variable_list apply(variable_list&& gradients) override {
    const at::Tensor dy = gradients[0].contiguous();
    variable_list result(InputOf(group.members.size(), kWeight));
    const Matrix rows = group.Shared(dy, *workspace);
    const at::Tensor d_hidden = HiddenGradient(rows);
    if (examples) {
      GiveToExamples(dy, d_hidden);
    } else {
      WeightGradients(dy, result);
      FactorGradients(dy, d_hidden, result);
    }
    if (task_should_compute_output(0)) result[0] = InputGradient(rows, d_hidden);
    return result;
  }

  void WeightGradients(const at::Tensor& dy, variable_list& result) {
    for (size_t i = 0; i < group.members.size(); ++i) {
      const Member& member = group.members[i];
      if (task_should_compute_output(InputOf(i, kWeight))) {
        result[InputOf(i, kWeight)] =
            FactorGradient(dy, member.column, member.outputs(), x, 0, group.inputs);
      }
      if (task_should_compute_output(InputOf(i, kBias))) {
        result[InputOf(i, kBias)] = dy.narrow(1, member.column, member.outputs()).sum(0);
      }
    }
  }

  void FactorGradients(const at::Tensor& dy, const at::Tensor& d_hidden, variable_list& result) {
    for (size_t i = 0; i < group.members.size(); ++i) {
      const Member& member = group.members[i];
      if (member.rank() == 0) continue;
      if (task_should_compute_output(InputOf(i, kA))) {
        result[InputOf(i, kA)] =
            FactorGradient(d_hidden, member.rank_column, member.rank(),
                           member.mask ? Masked(*member.mask, x, *workspace) : x, 0, group.inputs);
      }
      if (task_should_compute_output(InputOf(i, kB))) {
        result[InputOf(i, kB)] = FactorGradient(hidden, member.rank_column, member.rank(), dy,
                                                member.column, member.outputs())
                                     .t()
                                     .contiguous();
      }
    }
  }

  void GiveToExamples(const at::Tensor& dy, const at::Tensor& d_hidden) {
    for (const Member& member : group.members) {
      if (member.rank() == 0) continue;
      if (examples->Trains(member.a)) {
        examples->Add(member.a, {d_hidden, member.rank_column, member.rank()},
                      {member.mask ? Masked(*member.mask, x, *workspace) : x, 0, group.inputs});
      }
      examples->Add(member.b, {hidden, member.rank_column, member.rank()},
                    {dy, member.column, member.outputs()}, true);
    }
  }

  // scale * dy B, the members side by side.
  at::Tensor HiddenGradient(const Matrix& dy) {
    at::Tensor d_hidden = at::empty_like(hidden);
    for (const Member& member : group.members) {
      if (member.rank() == 0) continue;
      const at::Tensor scaled = member.b * member.scale;
      kernels::Multiply(x.size(0), member.rank(),
                        member.Beside(Columns(dy, member.column), Rows(scaled), member.outputs()),
                        d_hidden.data_ptr<float>() + member.rank_column, group.rank, false,
                        *workspace);
    }
    return d_hidden;
  }

  // [rank, width] = transpose of left[:, rank columns] times right[:, columns]. In fp32 whatever
  // the map: to round so long a right operand for so few rows would take as long.
  at::Tensor FactorGradient(const at::Tensor& left, int64_t left_column, int64_t rank,
                            const at::Tensor& right, int64_t column, int64_t width) {
    at::Tensor gradient = at::empty({rank, width}, at::kFloat);
    kernels::Multiply(rank, width, left.size(0), Transposed(Columns(left, left_column)),
                      Columns(right, column), gradient.data_ptr<float>(), width, false, *workspace);
    return gradient;
  }

  at::Tensor InputGradient(const Matrix& dy, const at::Tensor& d_hidden) {
    at::Tensor dx = at::empty_like(x);
    std::vector<Product> products;
    for (const Member& member : group.members) {
      products.push_back(Times(Columns(dy, member.column), member.weight, member.outputs()));
      if (member.rank() > 0 && !member.mask) {
        products.push_back(
            member.Beside(Columns(d_hidden, member.rank_column), Rows(member.a), member.rank()));
      }
    }
    kernels::Gemm({x.size(0), group.inputs, products, dx.data_ptr<float>(), group.inputs},
                  *workspace);
    for (const Member& member : group.members) {
      if (!member.mask) continue;
      at::Tensor through = at::empty_like(x);
      kernels::Multiply(
          x.size(0), group.inputs,
          member.Beside(Columns(d_hidden, member.rank_column), Rows(member.a), member.rank()),
          through.data_ptr<float>(), group.inputs, false, *workspace);
      dx.add_(Masked(*member.mask, through, *workspace));
    }
    return dx;
  }

  void release_variables() override {
    x = hidden = at::Tensor();
    group.members.clear();
  }
};

at::Tensor ProjectFused(const at::Tensor& x, std::span<const Linear> linears, Pass& pass) {
  Group group = GroupOf(linears, pass);
  const Matrix rows = group.Shared(x, *pass.workspace);
  const at::Tensor hidden = HiddenOf(group, x, rows, *pass.workspace);
  at::Tensor y = at::empty({x.size(0), group.outputs}, at::kFloat);
  Forward(group, linears, rows, hidden, y, *pass.workspace);
  variable_list inputs = {x};
  for (const Linear& linear : linears) {
    inputs.push_back(linear.weight);
    inputs.push_back(linear.bias);
    inputs.push_back(linear.low_rank ? linear.low_rank->a : at::Tensor());
    inputs.push_back(linear.low_rank ? linear.low_rank->b : at::Tensor());
  }
  if (NeedsGraph(inputs)) {
    auto node = MakeNode<ProjectNode>();
    node->group = std::move(group);
    node->x = x.detach();
    node->hidden = hidden;
    node->workspace = pass.workspace;
    node->examples = pass.examples;
    Attach(y, node, inputs);
  }
  return y;
}

// Lanes of fewer rows go through the maps together, so that a weight is read and packed once.
// Longer ones spare themselves the second pass over y that the low-rank terms then take.
constexpr int64_t kRowsOfOwn = 256;

// Low-rank terms lane by lane, and the maps over all rows at once where that pays.
at::Tensor ProjectLanes(const at::Tensor& x, std::span<const Linear> linears, Pass& pass) {
  TORCH_CHECK(!at::GradMode::is_enabled(), "lanes of a pass have no backward pass");
  const int64_t rows = x.size(0) / pass.lanes;
  const bool together = rows < kRowsOfOwn;
  std::vector<Linear> maps(linears.begin(), linears.end());
  for (Linear& map : maps) map.low_rank = nullptr;
  const Group whole = GroupOf(maps, pass);
  at::Tensor y = at::empty({x.size(0), whole.outputs}, at::kFloat);
  if (together) Forward(whole, maps, Rows(x), {}, y, *pass.workspace);
  for (int64_t lane = 0; lane < pass.lanes; ++lane) {
    const Group group = GroupOf(linears, pass, lane);
    const at::Tensor from = x.narrow(0, lane * rows, rows);
    const at::Tensor hidden = HiddenOf(group, from, Rows(from), *pass.workspace);
    at::Tensor to = y.narrow(0, lane * rows, rows);
    if (together) {
      AddLowRank(group, hidden, to, *pass.workspace);
    } else {
      Forward(group, linears, Rows(from), hidden, to, *pass.workspace);
    }
  }
  return y;
}

bool DiffersByLane(std::span<const Linear> linears, const Pass& pass) {
  if (pass.lanes == 1) return false;
  return std::any_of(linears.begin(), linears.end(),
                     [](const Linear& linear) { return linear.low_rank != nullptr; });
}

at::Tensor ProjectComposed(const at::Tensor& x, std::span<const Linear> linears, const Pass& pass) {
  std::vector<at::Tensor> outputs;
  for (const Linear& linear : linears) {
    at::Tensor y = at::linear(x, linear.weight.to(x.scalar_type()), linear.bias);
    if (const LowRank* low_rank = linear.low_rank) {
      at::Tensor from = x;
      if (const auto mask = MaskOf(pass, low_rank->site, low_rank->dropout)) {
        from = x * DropoutFactors(*mask, x, pass.lanes);
      }
      const at::Tensor wide = from.to(low_rank->a.scalar_type());
      y = y + LinearByLane(LinearByLane(wide, low_rank->a), low_rank->b)
                  .mul(low_rank->scale)
                  .to(y.scalar_type());
    }
    outputs.push_back(y);
  }
  return outputs.size() == 1 ? outputs[0] : at::cat(outputs, 1);
}

bool Fusable(const at::Tensor& x, std::span<const Linear> linears, const Pass& pass) {
  if (!x.device().is_cpu() || x.scalar_type() != at::kFloat || !x.is_contiguous()) return false;
  if (HasTangent(x)) return false;
  for (const Linear& linear : linears) {
    const at::Tensor& w = linear.weight;
    if (HasTangent(w) || HasTangent(linear.bias)) return false;
    const LowRank* const low_rank = linear.low_rank;
    if (low_rank && (HasTangent(low_rank->a) || HasTangent(low_rank->b))) return false;
    const bool known = w.scalar_type() == at::kFloat || w.scalar_type() == at::kBFloat16;
    if (!known || !w.is_contiguous()) return false;
    const bool trained =
        w.requires_grad() || (linear.bias.defined() && linear.bias.requires_grad());
    if (trained && pass.examples) return false;
  }
  return true;
}

}  // namespace

at::Tensor Project(const at::Tensor& x, std::span<const Linear> members, Pass& pass) {
  if (members.size() == 1 && members[0].weight.dim() == 3) {
    TORCH_CHECK(!members[0].low_rank, "got low-rank factors beside a matrix of each lane");
    return TrainedLinear(x, members[0].weight, members[0].bias, pass);
  }
  if (Fusable(x, members, pass) && DiffersByLane(members, pass)) {
    return ProjectLanes(x, members, pass);
  }
  if (Fusable(x, members, pass)) return ProjectFused(x, members, pass);
  if (!pass.examples) return ProjectComposed(x, members, pass);
  TORCH_CHECK(members.size() == 1 && !members[0].low_rank,
              "gradients of single examples: got low-rank factors beside a trained matrix");
  return TrainedLinear(x, members[0].weight, members[0].bias, pass);
}

}  // namespace rivulet
