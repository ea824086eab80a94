#pragma once

#include <cstdint>
#include <span>

#include "peft/kernels/workspace.h"

namespace rivulet::kernels {

// The values of a matrix as the matrix unit reads left operands (ToTiles).
struct Tiles {
  const float* data = nullptr;  // null: none
  int64_t words = 0;            // of a row: pairs of bf16 values, padding included

  // Those of the columns from `column` on; none where that is within a tile.
  Tiles From(int64_t column) const;
};

// A matrix in host memory: element (row, column) is data[row * row_stride + column *
// column_stride]. One of the strides is 1 where speed matters.
struct Matrix {
  const float* data = nullptr;
  int64_t row_stride = 0;
  int64_t column_stride = 1;
  Tiles tiles = {};  // of left operands that several products share
};
inline Matrix Transposed(Matrix m) { return {m.data, m.column_stride, m.row_stride}; }

// One summand a * b: a is [m, k], b is [k, n]. Where `narrow` is set it stands for b.data: bf16
// values (upper halves of fp32) with b's strides. Then, on a CPU that multiplies bf16, a is rounded
// to bf16 as well (nearest even; values below 2^-126 are zero) and products are added up in fp32,
// by its matrix unit where there is one; elsewhere b is widened and the arithmetic is fp32. Where
// `may_round` is set a matrix unit takes the product as well, a and b (fp32) rounded likewise;
// without one nothing is rounded.
struct Product {
  Matrix a;
  Matrix b;
  int64_t k = 0;
  const uint16_t* narrow = nullptr;
  bool may_round = false;
};

// True when this CPU multiplies bf16 (AVX512_BF16).
bool MultipliesBf16();

// c [m, n] = (accumulate ? c : bias ? bias : 0) + sum of a * b. The summands share the
// accumulators, so a low-rank term beside a dense one costs its own arithmetic and no second pass
// over c.
struct GemmCall {
  int64_t m = 0;
  int64_t n = 0;
  std::span<const Product> products;
  float* c = nullptr;
  int64_t c_stride = 0;         // between rows; columns are contiguous
  const float* bias = nullptr;  // [n], optional
  bool accumulate = false;
};

// The order of every sum depends on the shapes alone, so equal calls give equal bits whatever else
// runs and however many threads the workspace has. fp32 with fused multiply-add; no operand may
// overlap c.
void Gemm(const GemmCall& call, Workspace& workspace);

// Rounds a [m, k] to bf16 for products with the matrix unit, into `to`; none without such a unit.
Tiles ToTiles(int64_t m, int64_t k, Matrix a, Scratch& to, Workspace& workspace);

// One product.
void Multiply(int64_t m, int64_t n, const Product& product, float* c, int64_t c_stride,
              bool accumulate, Workspace& workspace);
// c = a * b in fp32.
void Multiply(int64_t m, int64_t n, int64_t k, Matrix a, Matrix b, float* c, int64_t c_stride,
              bool accumulate, Workspace& workspace);

}  // namespace rivulet::kernels
