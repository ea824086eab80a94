#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "peft/kernels/workspace.h"

namespace rivulet {

// The gradient of every example of a micro-batch by itself, from one backward pass over all of
// them (per-example clipping of DP-SGD; Goodfellow 2015, Li et al. 2022 "ghost clipping").
//
// The gradient of a matrix W in y = x W^T is, for an example of T tokens, (dy)^T x: a product
// [m, T] [T, n]. A pass keeps either the m n numbers of that product or its T (m + n) factors,
// whichever are fewer, and Of() puts one example's whole gradient together. Rows of padding are
// never read. Tensors that several modules share get the sum of what each of them adds.
//
// A pass in which one is set (Pass::examples) leaves the gradients of autograd's leaves untouched.
// Not thread safe.
class ExampleGradients {
 public:
  // Columns first .. first + width of `rows`, [examples * length or examples, ...], fp32, rows
  // contiguous.
  struct Columns {
    at::Tensor rows;
    int64_t first = 0;
    int64_t width = 0;
  };

  // `values` [size]: the trained numbers; every trained tensor is a contiguous view of a part.
  ExampleGradients(const float* values, int64_t size, kernels::Workspace& workspace);

  // Forgets the last micro-batch and waits for one of counts.size() sequences of `length` tokens,
  // counts[i] of them without padding.
  void Begin(std::span<const int32_t> counts, int64_t length);

  bool Trains(const at::Tensor& tensor) const;
  // For every example e, the gradient of `of` grows by left_e^T right_e [left.width, right.width],
  // or by the transpose of that. No effect when `of` is not trained. Throws c10::Error when the
  // rows are not those of the micro-batch.
  void Add(const at::Tensor& of, const Columns& left, const Columns& right,
           bool transposed = false);

  int64_t examples() const { return static_cast<int64_t>(counts_.size()); }
  // The gradient of one example [size], in the order of `values`; valid until the next call. The
  // same bits whatever else is in the micro-batch, given the same left and right rows.
  std::span<const float> Of(int64_t example);

 private:
  struct Term {
    int64_t offset = 0;  // in values
    Columns left, right;
    bool transposed = false;
    at::Tensor products;  // [examples, left.width * right.width]; undefined = made by Of

    int64_t size() const { return left.width * right.width; }
  };
  void Product(const Term& term, int64_t example, float* to);

  const float* values_;
  kernels::Workspace& workspace_;
  std::vector<int32_t> counts_;
  int64_t length_ = 0;
  std::vector<Term> terms_;
  std::vector<float> whole_, product_;
};

}  // namespace rivulet
