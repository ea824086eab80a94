#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "peft/model/adaptation.h"
#include "peft/model/ops.h"

// Parts that several architectures share.

namespace rivulet {

// U act(D x + d) + u of a bottleneck adapter; x [rows, hidden].
at::Tensor BottleneckOutput(const Bottleneck& adapter, const at::Tensor& x, Pass& pass);

// body(x), but with `pass.checkpointing` only x is kept: the backward pass computes body again.
// Trained tensors that body reads get their gradients directly. body must give equal results when
// called twice (dropout does: its masks are addressed).
at::Tensor Checkpointed(const at::Tensor& x, const Pass& pass,
                        std::function<at::Tensor(const at::Tensor&)> body);

}  // namespace rivulet
