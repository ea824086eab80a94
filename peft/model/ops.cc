#include "peft/model/ops.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "peft/kernels/cross_entropy.h"
#include "peft/kernels/rows.h"
#include "peft/model/dropout.h"
#include "peft/model/node.h"
#include "peft/model/tangent.h"

namespace rivulet {
namespace {

using torch::autograd::variable_list;

bool IsNarrow(const at::Tensor& weight) { return weight.scalar_type() == at::kBFloat16; }

bool OnFastPath(const at::Tensor& x, const at::Tensor& weight) {
  if (HasTangent(x) || HasTangent(weight)) return false;
  return x.device().is_cpu() && x.scalar_type() == at::kFloat && x.is_contiguous() &&
         (!weight.defined() || (weight.scalar_type() == at::kFloat && weight.is_contiguous()));
}

// Norms and softmax are computed in fp32, or in double where the input is.
at::ScalarType AtLeastFloat(const at::Tensor& x) {
  return at::promote_types(x.scalar_type(), at::kFloat);
}

at::Tensor EmptyRows(int64_t rows, int64_t width) { return at::empty({rows, width}, at::kFloat); }

struct RmsNormNode : torch::autograd::Node {
  at::Tensor x, weight, scale;

  variable_list apply(variable_list&& gradients) override {
    const at::Tensor dy = gradients[0].contiguous();
    at::Tensor dx = at::empty_like(x);
    kernels::RmsNormBackward(x.data_ptr<float>(), weight.data_ptr<float>(), scale.data_ptr<float>(),
                             dy.data_ptr<float>(), x.size(0), x.size(1), dx.data_ptr<float>());
    at::Tensor d_weight;
    if (task_should_compute_output(1)) d_weight = (dy * x * scale.unsqueeze(1)).sum(0);
    return {dx, d_weight};
  }
  void release_variables() override { x = weight = scale = at::Tensor(); }
};

struct SwiGluNode : torch::autograd::Node {
  at::Tensor gate_up;

  variable_list apply(variable_list&& gradients) override {
    const at::Tensor dy = gradients[0].contiguous();
    at::Tensor d_gate_up = at::empty_like(gate_up);
    kernels::SwiGluBackward(gate_up.data_ptr<float>(), dy.data_ptr<float>(), dy.size(0), dy.size(1),
                            d_gate_up.data_ptr<float>());
    return {d_gate_up};
  }
  void release_variables() override { gate_up = at::Tensor(); }
};

struct AttentionNode : torch::autograd::Node {
  kernels::AttentionShape shape;
  at::Tensor qkv, out, log_sums, key_counts, cosine, sine;
  kernels::Workspace* workspace;

  variable_list apply(variable_list&& gradients) override {
    const at::Tensor d_out = gradients[0].contiguous();
    at::Tensor d_qkv = at::empty_like(qkv);
    kernels::AttentionBackward(shape, qkv.data_ptr<float>(), out.data_ptr<float>(),
                               log_sums.data_ptr<float>(), d_out.data_ptr<float>(),
                               d_qkv.data_ptr<float>(), *workspace);
    if (cosine.defined()) {
      kernels::Rotate(d_qkv.data_ptr<float>(), qkv.size(0), shape.width(),
                      shape.heads + shape.kv_heads, shape.head_dim, cosine.data_ptr<float>(),
                      sine.data_ptr<float>(), shape.length, -1.0f);
    }
    return {d_qkv};
  }
  void release_variables() override {
    qkv = out = log_sums = key_counts = cosine = sine = at::Tensor();
  }
};

at::Tensor AttendFused(const at::Tensor& qkv, kernels::AttentionShape shape,
                       const at::Tensor& key_counts, const RotaryTable* rotary, Pass& pass) {
  at::Tensor rotated = qkv.detach();
  if (rotary) {
    rotated = rotated.clone();
    kernels::Rotate(rotated.data_ptr<float>(), qkv.size(0), shape.width(),
                    shape.heads + shape.kv_heads, shape.head_dim, rotary->cosine.data_ptr<float>(),
                    rotary->sine.data_ptr<float>(), shape.length, 1.0f);
  }
  if (key_counts.defined()) shape.key_counts = key_counts.data_ptr<int32_t>();
  at::Tensor out = EmptyRows(qkv.size(0), shape.heads * shape.head_dim);
  at::Tensor log_sums = EmptyRows(shape.batch * shape.heads, shape.length);
  kernels::Attention(shape, rotated.data_ptr<float>(), out.data_ptr<float>(),
                     log_sums.data_ptr<float>(), *pass.workspace);
  if (NeedsGraph({qkv})) {
    auto node = MakeNode<AttentionNode>();
    node->shape = shape;
    node->qkv = rotated;
    node->out = out.detach();
    node->log_sums = log_sums;
    node->key_counts = key_counts;
    if (rotary) {
      node->cosine = rotary->cosine;
      node->sine = rotary->sine;
    }
    node->workspace = pass.workspace;
    Attach(out, node, {qkv});
  }
  return out;
}

// [batch, heads, length, head_dim] halves rotated.
at::Tensor RotateComposed(const at::Tensor& x, const RotaryTable& table) {
  const int64_t half = x.size(-1) / 2;
  const at::Tensor low = x.narrow(-1, 0, half), high = x.narrow(-1, half, half);
  const at::Tensor c = table.cosine.to(x.device(), x.scalar_type());
  const at::Tensor s = table.sine.to(x.device(), x.scalar_type());
  return at::cat({low * c - high * s, high * c + low * s}, -1);
}

// True where a query must not look: [batch, 1, length, length].
at::Tensor HiddenKeys(const kernels::AttentionShape& shape, const at::Tensor& key_counts,
                      const at::Device& device) {
  const at::Tensor position = at::arange(shape.length, at::device(device).dtype(at::kLong));
  at::Tensor hidden =
      at::zeros({1, 1, shape.length, shape.length}, at::device(device).dtype(at::kBool));
  if (shape.causal) {
    hidden = position.view({1, 1, 1, -1}) > position.view({1, 1, -1, 1});
  }
  if (key_counts.defined()) {
    hidden = hidden | (position.view({1, 1, 1, -1}) >= key_counts.to(device).view({-1, 1, 1, 1}));
  }
  return hidden;
}

at::Tensor AttendComposed(const at::Tensor& qkv, const kernels::AttentionShape& shape,
                          const at::Tensor& key_counts, const RotaryTable* rotary) {
  const auto heads_of = [&](int64_t first, int64_t count) {
    return qkv.narrow(1, first * shape.head_dim, count * shape.head_dim)
        .view({shape.batch, shape.length, count, shape.head_dim})
        .transpose(1, 2);
  };
  at::Tensor q = heads_of(0, shape.heads);
  at::Tensor k = heads_of(shape.heads, shape.kv_heads);
  at::Tensor v = heads_of(shape.heads + shape.kv_heads, shape.kv_heads);
  if (rotary) {
    q = RotateComposed(q, *rotary);
    k = RotateComposed(k, *rotary);
  }
  const int64_t group = shape.heads / shape.kv_heads;
  k = k.repeat_interleave(group, 1);
  v = v.repeat_interleave(group, 1);
  at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(double(shape.head_dim));
  scores = scores.masked_fill(HiddenKeys(shape, key_counts, qkv.device()),
                              -std::numeric_limits<double>::infinity());
  at::Tensor p = at::softmax(scores, -1, AtLeastFloat(scores));
  if (shape.dropout) {
    const at::Tensor rows =
        at::empty({shape.batch, shape.heads, shape.length, shape.dropout_stride()}, p.options());
    p = p * DropoutFactors(*shape.dropout, rows, shape.lanes).narrow(3, 0, shape.length);
  }
  return at::matmul(p.to(qkv.scalar_type()), v)
      .transpose(1, 2)
      .reshape({shape.batch * shape.length, shape.heads * shape.head_dim});
}

// A matrix that the fused loss reads in bf16.
bool StaysNarrow(const at::Tensor& weight) {
  return IsNarrow(weight) && !weight.requires_grad() && weight.is_contiguous();
}

kernels::ClassMatrix ClassMatrixOf(const at::Tensor& weight) {
  if (IsNarrow(weight)) return {nullptr, static_cast<const uint16_t*>(weight.data_ptr())};
  return {weight.data_ptr<float>(), nullptr};
}

struct TokenLossNode : torch::autograd::Node {
  at::Tensor d_hidden, d_weight;  // either may be undefined

  variable_list apply(variable_list&& gradients) override {
    const at::Tensor& by = gradients[0];
    if (by.item<float>() != 1.0f) {
      if (d_hidden.defined()) d_hidden.mul_(by);
      if (d_weight.defined()) d_weight.mul_(by);
    }
    return {d_hidden, d_weight};
  }
  void release_variables() override { d_hidden = d_weight = at::Tensor(); }
};

LossSums TokenLossComposed(const at::Tensor& hidden, const at::Tensor& weight,
                           const at::Tensor& targets, double divisor) {
  const at::Tensor logits = at::linear(hidden, weight.to(hidden.scalar_type()));
  const at::Tensor classes = targets.to(at::kLong).to(hidden.device());
  LossSums sums;
  sums.mean = at::cross_entropy_loss(logits.to(AtLeastFloat(logits)), classes);
  sums.loss = sums.mean.item<double>() * static_cast<double>(targets.size(0));
  if (divisor > 0) sums.mean = sums.mean * (static_cast<double>(targets.size(0)) / divisor);
  sums.correct = (logits.argmax(1) == classes).sum().item<int64_t>();
  return sums;
}

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  if (!OnFastPath(x, weight)) {
    const at::Tensor wide = x.to(AtLeastFloat(x));
    const at::Tensor n = wide * at::rsqrt(wide.square().mean(-1, true) + epsilon);
    return n.to(x.scalar_type()) * weight;
  }
  at::Tensor y = at::empty_like(x);
  at::Tensor scale = at::empty({x.size(0)}, at::kFloat);
  kernels::RmsNorm(x.data_ptr<float>(), weight.data_ptr<float>(), static_cast<float>(epsilon),
                   x.size(0), x.size(1), y.data_ptr<float>(), scale.data_ptr<float>());
  if (NeedsGraph({x, weight})) {
    auto node = MakeNode<RmsNormNode>();
    node->x = x.detach();
    node->weight = weight.detach();
    node->scale = scale;
    Attach(y, node, {x, weight});
  }
  return y;
}

at::Tensor SwiGlu(const at::Tensor& gate_up) {
  const int64_t width = gate_up.size(1) / 2;
  if (!OnFastPath(gate_up, {})) {
    return at::silu(gate_up.narrow(1, 0, width)) * gate_up.narrow(1, width, width);
  }
  at::Tensor y = EmptyRows(gate_up.size(0), width);
  kernels::SwiGlu(gate_up.data_ptr<float>(), gate_up.size(0), width, y.data_ptr<float>());
  if (NeedsGraph({gate_up})) {
    auto node = MakeNode<SwiGluNode>();
    node->gate_up = gate_up.detach();
    Attach(y, node, {gate_up});
  }
  return y;
}

at::Tensor Attend(const at::Tensor& qkv, const kernels::AttentionShape& shape,
                  const at::Tensor& key_counts, const RotaryTable* rotary, Pass& pass) {
  if (!OnFastPath(qkv, {})) return AttendComposed(qkv, shape, key_counts, rotary);
  return AttendFused(qkv, shape, key_counts, rotary, pass);
}

at::Tensor AttendWithCache(const at::Tensor& qkv, const kernels::AttentionShape& shape,
                           const RotaryTable& rotary, int64_t past, at::Tensor& rows) {
  const int64_t n = shape.length, dim = shape.head_dim, total = past + n;
  const int64_t group = shape.heads / shape.kv_heads;
  const at::Tensor x = qkv.view({n, shape.heads + 2 * shape.kv_heads, dim});
  const at::Tensor turning = x.narrow(1, 0, shape.heads + shape.kv_heads).transpose(0, 1);
  const at::Tensor turned = RotateComposed(turning, rotary);  // [heads + kv_heads, n, dim]
  at::Tensor fresh = rows.narrow(0, past, n).view({n, 2 * shape.kv_heads, dim});
  fresh.narrow(1, 0, shape.kv_heads)
      .copy_(turned.narrow(0, shape.heads, shape.kv_heads).transpose(0, 1));
  fresh.narrow(1, shape.kv_heads, shape.kv_heads)
      .copy_(x.narrow(1, shape.heads + shape.kv_heads, shape.kv_heads));
  const at::Tensor seen = rows.narrow(0, 0, total).view({total, 2 * shape.kv_heads, dim});
  const at::Tensor keys = seen.narrow(1, 0, shape.kv_heads).permute({1, 2, 0});
  const at::Tensor values = seen.narrow(1, shape.kv_heads, shape.kv_heads).transpose(0, 1);
  // A group of query heads shares its keys: [kv_heads, group * n, dim].
  const at::Tensor queries =
      turned.narrow(0, 0, shape.heads).reshape({shape.kv_heads, group * n, dim});
  at::Tensor scores =
      at::bmm(queries, keys).view({shape.heads, n, total}) / std::sqrt(static_cast<double>(dim));
  if (n > 1) {
    const at::Tensor at_key = at::arange(total, at::device(qkv.device()).dtype(at::kLong));
    const at::Tensor later = at_key.view({1, -1}) > at_key.narrow(0, past, n).view({-1, 1});
    scores = scores.masked_fill(later, -std::numeric_limits<double>::infinity());
  }
  const at::Tensor p = at::softmax(scores, -1).view({shape.kv_heads, group * n, total});
  return at::bmm(p, values)
      .view({shape.heads, n, dim})
      .transpose(0, 1)
      .reshape({n, shape.heads * dim});
}

LossSums TokenLoss(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                   Pass& pass, double divisor) {
  const bool narrow = StaysNarrow(weight);
  if (!OnFastPath(hidden, narrow ? at::Tensor() : weight)) {
    return TokenLossComposed(hidden, weight, targets, divisor);
  }
  const bool graph = NeedsGraph({hidden, weight});
  at::Tensor d_hidden, d_weight;
  if (graph && hidden.requires_grad()) d_hidden = at::empty_like(hidden);
  if (graph && weight.requires_grad()) d_weight = at::zeros_like(weight);
  const int64_t rows = hidden.size(0);
  if (divisor <= 0) divisor = static_cast<double>(std::max<int64_t>(rows, 1));
  const kernels::CrossEntropySums sums = kernels::CrossEntropy(
      hidden.data_ptr<float>(), ClassMatrixOf(weight), targets.data_ptr<int32_t>(), rows,
      hidden.size(1), weight.size(0), 1.0f / static_cast<float>(divisor),
      d_hidden.defined() ? d_hidden.data_ptr<float>() : nullptr,
      d_weight.defined() ? d_weight.data_ptr<float>() : nullptr, *pass.workspace);
  LossSums result = {at::scalar_tensor(sums.loss / divisor, at::kFloat), sums.loss, sums.correct};
  if (graph) {
    auto node = MakeNode<TokenLossNode>();
    node->d_hidden = d_hidden;
    node->d_weight = d_weight;
    Attach(result.mean, node, {hidden, weight});
  }
  return result;
}

at::Tensor TokenLosses(const at::Tensor& hidden, const at::Tensor& weight,
                       const at::Tensor& targets, Pass& pass) {
  if (!OnFastPath(hidden, StaysNarrow(weight) ? at::Tensor() : weight)) {
    const at::Tensor logits = at::linear(hidden, weight.to(hidden.scalar_type()));
    return at::cross_entropy_loss(logits.to(AtLeastFloat(logits)),
                                  targets.to(at::kLong).to(hidden.device()), {},
                                  at::Reduction::None)
        .to(at::kCPU, at::kDouble);
  }
  at::Tensor losses = at::empty({hidden.size(0)}, at::kDouble);
  kernels::CrossEntropy(hidden.data_ptr<float>(), ClassMatrixOf(weight),
                        targets.data_ptr<int32_t>(), hidden.size(0), hidden.size(1), weight.size(0),
                        0, nullptr, nullptr, *pass.workspace, losses.data_ptr<double>());
  return losses;
}

}  // namespace rivulet
