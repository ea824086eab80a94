#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "peft/kernels/dropout.h"
#include "peft/model/ops.h"

// Dropout of the model itself, as the reference applies it in training. Every mask is addressed by
// (stream of the pass, site), so a backward pass and a checkpointed layer make it again.

namespace rivulet {

enum class DropoutPlace : uint32_t {
  kEmbeddings = 0,
  kAttention = 1,        // probabilities
  kAttentionOutput = 2,  // before its residual sum
  kOutput = 3,           // of the feed-forward block, before its residual sum
  kClassifier = 4,       // input of the classifier
};
// A site of the model; places outside the layers have layer 0. The upper half of the numbers, since
// methods count theirs from 0 (LowRank::site).
inline uint32_t DropoutSite(DropoutPlace place, int64_t layer = 0) {
  return 0x80000000u + static_cast<uint32_t>(layer) * 8 + static_cast<uint32_t>(place);
}

// The mask of a site in this pass; none when the pass or the rate says no dropout.
std::optional<kernels::DropoutMask> MaskOf(const Pass& pass, uint32_t site, double rate);

// x [contiguous fp32 on the CPU] with the mask applied, to each of its lanes anew; not
// differentiable.
at::Tensor Masked(const kernels::DropoutMask& mask, const at::Tensor& x,
                  kernels::Workspace& workspace, int64_t lanes = 1);

// The factors of a mask, 0 or 1 / (1 - rate), as a tensor like x: for the composed forms.
at::Tensor DropoutFactors(const kernels::DropoutMask& mask, const at::Tensor& x, int64_t lanes = 1);

// x with the mask of the site applied, differentiable; x itself without dropout.
at::Tensor Drop(const at::Tensor& x, uint32_t site, double rate, Pass& pass);

}  // namespace rivulet
