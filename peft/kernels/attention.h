#pragma once

#include <cstdint>
#include <optional>

#include "peft/kernels/dropout.h"
#include "peft/kernels/workspace.h"

namespace rivulet::kernels {

// Scaled dot-product attention of whole sequences; probabilities are recomputed in the backward
// pass, so memory does not grow with length^2.
struct AttentionShape {
  int64_t batch = 0;
  int64_t length = 0;    // tokens of each sequence, padding included
  int64_t heads = 0;     // of queries
  int64_t kv_heads = 0;  // divides heads; head h reads kv head h / (heads / kv_heads)
  int64_t head_dim = 0;
  bool causal = true;
  const int32_t* key_counts = nullptr;  // [batch]: keys that are not padding (right); null = all
  // Of the probabilities: that of key k for query q is element row * stride + k of the mask, row =
  // (sequence * heads + head) * length + q, stride = length rounded up to a multiple of 4.
  std::optional<DropoutMask> dropout = {};
  int64_t lanes = 1;       // the batch is so many equal ones, each with the mask of the first
  bool may_round = false;  // the operands of products, as in Product; softmax stays fp32

  int64_t dropout_stride() const { return (length + 3) / 4 * 4; }
  int64_t width() const { return (heads + 2 * kv_heads) * head_dim; }  // of a qkv row
};

// out [batch * length, heads * head_dim] from qkv [batch * length, width()], a row being all query
// heads, then all key heads, then all value heads; log_sums [batch, heads, length] is kept for the
// backward pass.
void Attention(const AttentionShape& shape, const float* qkv, float* out, float* log_sums,
               Workspace& workspace);

// d_qkv, shaped and laid out as qkv, from d_out.
void AttentionBackward(const AttentionShape& shape, const float* qkv, const float* out,
                       const float* log_sums, const float* d_out, float* d_qkv,
                       Workspace& workspace);

}  // namespace rivulet::kernels
