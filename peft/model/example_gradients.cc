#include "peft/model/example_gradients.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>

#include "peft/kernels/gemm.h"

namespace rivulet {
namespace {

kernels::Matrix RowsFrom(const ExampleGradients::Columns& columns, int64_t row) {
  const at::Tensor& rows = columns.rows;
  return {rows.data_ptr<float>() + row * rows.stride(0) + columns.first, rows.stride(0), 1};
}

}  // namespace

ExampleGradients::ExampleGradients(const float* values, int64_t size, kernels::Workspace& workspace)
    : values_(values), workspace_(workspace), whole_(size) {}

void ExampleGradients::Begin(std::span<const int32_t> counts, int64_t length) {
  counts_.assign(counts.begin(), counts.end());
  length_ = length;
  terms_.clear();
}

bool ExampleGradients::Trains(const at::Tensor& tensor) const {
  const void* at = tensor.data_ptr();
  const std::less<const void*> before;
  return !before(at, values_) && before(at, values_ + whole_.size());
}

void ExampleGradients::Add(const at::Tensor& of, const Columns& left, const Columns& right,
                           bool transposed) {
  if (!Trains(of)) return;
  const int64_t rows = left.rows.size(0);
  TORCH_CHECK(rows == right.rows.size(0) && (rows == examples() * length_ || rows == examples()),
              "rows of an example: got ", rows, " and ", right.rows.size(0), ", want ", examples(),
              " times 1 or ", length_);
  TORCH_CHECK(of.numel() == left.width * right.width, "gradient of an example: got ", left.width,
              " x ", right.width, ", want ", of.numel(), " numbers");
  Term term = {of.data_ptr<float>() - values_, left, right, transposed, {}};
  if (examples() * term.size() <= rows * (left.width + right.width)) {
    term.products = at::empty({examples(), term.size()}, at::kFloat);
    for (int64_t example = 0; example < examples(); ++example) {
      Product(term, example, term.products.data_ptr<float>() + example * term.size());
    }
    term.left.rows = term.right.rows = at::Tensor();
  }
  terms_.push_back(std::move(term));
}

void ExampleGradients::Product(const Term& term, int64_t example, float* to) {
  const bool by_token = term.left.rows.size(0) == examples() * length_;
  const int64_t first = by_token ? example * length_ : example;
  kernels::Multiply(term.left.width, term.right.width, by_token ? counts_[example] : 1,
                    Transposed(RowsFrom(term.left, first)), RowsFrom(term.right, first), to,
                    term.right.width, false, workspace_);
}

std::span<const float> ExampleGradients::Of(int64_t example) {
  std::fill(whole_.begin(), whole_.end(), 0.0f);
  for (const Term& term : terms_) {
    const float* from;
    if (term.products.defined()) {
      from = term.products.data_ptr<float>() + example * term.size();
    } else {
      if (product_.size() < static_cast<size_t>(term.size())) product_.resize(term.size());
      Product(term, example, product_.data());
      from = product_.data();
    }
    float* to = whole_.data() + term.offset;
    const int64_t m = term.left.width, n = term.right.width;
    if (!term.transposed) {
      for (int64_t k = 0; k < m * n; ++k) to[k] += from[k];
      continue;
    }
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = 0; i < m; ++i) to[j * m + i] += from[i * n + j];
    }
  }
  return whole_;
}

}  // namespace rivulet
