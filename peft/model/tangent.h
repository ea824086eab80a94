#pragma once

#include <ATen/core/Tensor.h>

// Forward-mode differentiation: a tensor that carries a tangent gives one to whatever is computed
// from it by operations of ATen, under NoGradGuard too. The fused forms of ops.h know no tangents.

namespace rivulet {

// A view of `primal` that carries `tangent`, both of one shape and type. Safe from many threads:
// tangents belong to tensors.
at::Tensor WithTangent(const at::Tensor& primal, const at::Tensor& tangent);

// The tangent; undefined when there is none.
at::Tensor TangentOf(const at::Tensor& tensor);

bool HasTangent(const at::Tensor& tensor);  // false for an undefined tensor

}  // namespace rivulet
