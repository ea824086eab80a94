#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>

#include "common/random.h"
#include "peft/kernels/attention.h"
#include "peft/kernels/workspace.h"
#include "peft/model/adaptation.h"

// Differentiable operations of a transformer. Each has a fused form (own kernels
// and backward pass; fp32 on the CPU) and a composed one of ATen operations, taken for everything
// else: other devices and dtypes, and tensors that carry tangents (tangent.h). Weights may be
// trained. Rows are tokens. Errors are C++ exceptions of libtorch; the trainer turns them into a
// Status.

namespace rivulet {

class ExampleGradients;

// What one pass over one batch needs beside tensors. Not thread safe; one per thread.
struct Pass {
  kernels::Workspace* workspace = nullptr;
  std::optional<RandomStream> dropout;  // empty: no dropout (evaluation)
  bool checkpointing = false;           // keep layer inputs only and compute layers twice
  // Where gradients of trained tensors go, each example's by itself, in place of the leaves of
  // autograd; null: to the leaves. Fused forms only.
  ExampleGradients* examples = nullptr;
  // So many equal batches behind one another (LaneLosses), each with the dropout masks it has by
  // itself. Tensors with a dimension [lanes] in front of the usual ones differ by lane.
  int64_t lanes = 1;
};

// x [rows, width] -> x * rsqrt(mean(x^2) + eps) * weight.
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

// One linear map of several that read the same rows.
struct Linear {
  at::Tensor weight;                  // [out, in]
  at::Tensor bias;                    // [out] or undefined
  const LowRank* low_rank = nullptr;  // must outlive the call
};
// x [rows, in] -> [rows, sum of out], the members' outputs side by side.
at::Tensor Project(const at::Tensor& x, std::span<const Linear> members, Pass& pass);

// x [rows, in] -> [rows, out] through a matrix that is trained itself, as those of heads and
// bottlenecks are; `bias` may be undefined.
at::Tensor TrainedLinear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                         Pass& pass);

// The same where the weight may be [lanes, out, in] and the bias [lanes, out]; plain operations.
at::Tensor LinearByLane(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

// gate_up [rows, 2 w] -> silu(gate) * up [rows, w].
at::Tensor SwiGlu(const at::Tensor& gate_up);

// Positions of rotary embedding: cosine and sine [length, head_dim / 2], fp32.
struct RotaryTable {
  at::Tensor cosine;
  at::Tensor sine;
};

// qkv [batch * length, width] -> [batch * length, heads * head_dim]. With a table, queries and keys
// are rotated first. key_counts as in kernels::AttentionShape, [batch] int32, or undefined.
at::Tensor Attend(const at::Tensor& qkv, const kernels::AttentionShape& shape,
                  const at::Tensor& key_counts, const RotaryTable* rotary, Pass& pass);

// The same for one sequence whose first `past` tokens are in the cache: qkv [n, width], `rows`
// [capacity, 2 * kv_heads * head_dim] gets n rows more. Not differentiable.
at::Tensor AttendWithCache(const at::Tensor& qkv, const kernels::AttentionShape& shape,
                           const RotaryTable& rotary, int64_t past, at::Tensor& rows);

struct LossSums {
  at::Tensor mean;  // scalar, differentiable; the sum of losses over a divisor
  double loss = 0;  // nats, summed
  int64_t correct = 0;
};
// Cross-entropy of hidden [rows, width] through weight [classes, width], computed in chunks of
// rows.
//   targets [rows] int32 on the CPU, each a class (rows without a target are left out before)
//   divisor of the sum in LossSums::mean; 0 = the number of rows
LossSums TokenLoss(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                   Pass& pass, double divisor = 0);
// The losses alone, of each row, nats: [rows] double on the CPU; not differentiable.
at::Tensor TokenLosses(const at::Tensor& hidden, const at::Tensor& weight,
                       const at::Tensor& targets, Pass& pass);

}  // namespace rivulet
