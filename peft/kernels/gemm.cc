#include "peft/kernels/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "peft/kernels/gemm.cc"
#include "hwy/foreach_target.h"  // compiles this file once per instruction set
//
#include "hwy/highway.h"
#include "peft/kernels/transpose-inl.h"

// The loops of Goto and van de Geijn (2008), short of packing the left operand: blocks of columns
// and of the inner dimension are packed into panels, a tile of the result stays in registers.
HWY_BEFORE_NAMESPACE();
namespace rivulet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET <= HWY_AVX3
constexpr int kTileRows = 14;  // 28 accumulators of 32 registers
#else
constexpr int kTileRows = 6;  // 12 of 16
#endif
using Lanes = hn::CappedTag<float, 16>;
constexpr int64_t kLanes = HWY_MIN(HWY_LANES(float), 16);
constexpr int64_t kPanel = 2 * kLanes;   // columns of a tile
constexpr int64_t kInner = 768;          // inner dimension of a block
constexpr int64_t kColumns = 512;        // columns of a block: kInner x kColumns fits half of L2
constexpr int64_t kDirectRows = 4 * 14;  // below this, packing costs more than it saves

// Part of a summand's inner dimension, the right operand as rows of a panel.
struct Slice {
  const float* a;
  int64_t a_row, a_column;
  const float* b;
  int64_t b_row;
  int64_t k;
};

struct Destination {
  float* c;
  int64_t stride;
  int64_t columns;  // of the panel that exist
  bool accumulate;
  const float* bias;
};

template <int kRows, int kVectors>
HWY_INLINE void Tile(const Slice* slices, int count, int64_t row, const Destination& to) {
  const Lanes d;
  using V = hn::Vec<Lanes>;
  V sum[kRows][kVectors];
  HWY_UNROLL(14)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::Zero(d);
  }
  for (int s = 0; s < count; ++s) {
    const Slice& slice = slices[s];
    const float* a = slice.a + row * slice.a_row;
    const float* b = slice.b;
    const int64_t a_row = slice.a_row, a_column = slice.a_column, b_row = slice.b_row;
    for (int64_t k = slice.k; k > 0; --k) {
      V right[kVectors];
      HWY_UNROLL(2)
      for (int v = 0; v < kVectors; ++v) right[v] = hn::LoadU(d, b + v * kLanes);
      HWY_UNROLL(14)
      for (int i = 0; i < kRows; ++i) {
        const V left = hn::Set(d, a[i * a_row]);
        HWY_UNROLL(2)
        for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::MulAdd(left, right[v], sum[i][v]);
      }
      a += a_column;
      b += b_row;
    }
  }
  float* c = to.c + row * to.stride;
  if (to.columns == kVectors * kLanes) {
    HWY_UNROLL(14)
    for (int i = 0; i < kRows; ++i) {
      HWY_UNROLL(2)
      for (int v = 0; v < kVectors; ++v) {
        float* at = c + i * to.stride + v * kLanes;
        V out = sum[i][v];
        if (to.accumulate) out = hn::Add(out, hn::LoadU(d, at));
        if (to.bias) out = hn::Add(out, hn::LoadU(d, to.bias + v * kLanes));
        hn::StoreU(out, d, at);
      }
    }
    return;
  }
  HWY_ALIGN float spill[kRows][kVectors * kLanes];
  HWY_UNROLL(14)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) hn::Store(sum[i][v], d, spill[i] + v * kLanes);
  }
  for (int i = 0; i < kRows; ++i) {
    for (int64_t j = 0; j < to.columns; ++j) {
      float out = spill[i][j];
      if (to.accumulate) out += c[i * to.stride + j];
      if (to.bias) out += to.bias[j];
      c[i * to.stride + j] = out;
    }
  }
}

template <int kVectors>
HWY_NOINLINE void TileOf(int rows, const Slice* slices, int count, int64_t row,
                         const Destination& to) {
  switch (rows) {
#define RV_TILE(n)                               \
  case n:                                        \
    if constexpr (n <= kTileRows) {              \
      Tile<n, kVectors>(slices, count, row, to); \
    }                                            \
    break;
    RV_TILE(1)
    RV_TILE(2)
    RV_TILE(3)
    RV_TILE(4)
    RV_TILE(5)
    RV_TILE(6)
    RV_TILE(7) RV_TILE(8) RV_TILE(9) RV_TILE(10) RV_TILE(11) RV_TILE(12) RV_TILE(13) RV_TILE(14)
#undef RV_TILE
  }
}

// out [k, width] = b [k0.., n0..], columns beyond `columns` zero.
void PackPanel(const Matrix& b, int64_t k0, int64_t k, int64_t n0, int64_t columns, int64_t width,
               float* out) {
  const float* from = b.data + k0 * b.row_stride + n0 * b.column_stride;
  if (b.column_stride == 1 && columns == width) {
    const Lanes d;
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < width; j += kLanes) {
        hn::StoreU(hn::LoadU(d, from + i * b.row_stride + j), d, out + i * width + j);
      }
    }
    return;
  }
  if (columns < width) std::fill(out, out + k * width, 0.0f);
  if (b.row_stride == 1) {
    Transpose(from, b.column_stride, columns, k, out, width);
    return;
  }
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      out[i * width + j] = from[i * b.row_stride + j * b.column_stride];
    }
  }
}

// A run of summands, or of parts of them, whose inner dimensions add up to at most kInner.
struct Part {
  const Product* product;
  int64_t begin;
  int64_t k;
};
constexpr int kMaxParts = 16;

// Fills `parts` from position (product, offset); returns how many and moves the position on.
int NextParts(std::span<const Product> products, size_t& index, int64_t& offset, Part* parts,
              int64_t& total) {
  int count = 0;
  total = 0;
  while (index < products.size() && count < kMaxParts && total < kInner) {
    const Product& product = products[index];
    const int64_t take = std::min(product.k - offset, kInner - total);
    if (take > 0) parts[count++] = {&product, offset, take};
    total += take;
    offset += take;
    if (offset >= product.k) {
      ++index;
      offset = 0;
    }
  }
  return count;
}

// One block: `parts` of the inner dimension, columns n0 .. n0 + width.
void Block(const GemmCall& call, const Part* parts, int count, int64_t total, int64_t n0,
           int64_t width, bool first, Workspace& workspace) {
  const bool direct = call.m <= kDirectRows;
  float* packed = workspace.packed.Resize(total * (width + kPanel));
  Slice slices[kMaxParts];
  const bool accumulate = call.accumulate || !first;
  const auto prepare = [&](int64_t j, int64_t columns, int64_t panel) {
    float* at = packed + j * total;
    for (int p = 0; p < count; ++p) {
      const Part& part = parts[p];
      const Matrix& a = part.product->a;
      const Matrix& b = part.product->b;
      Slice& slice = slices[p];
      slice = {
          a.data + part.begin * a.column_stride, a.row_stride, a.column_stride, at, panel, part.k};
      if (direct && b.column_stride == 1 && columns == panel) {
        slice.b = b.data + part.begin * b.row_stride + n0 + j;
        slice.b_row = b.row_stride;
      } else {
        PackPanel(b, part.begin, part.k, n0 + j, columns, panel, at);
        at += part.k * panel;
      }
    }
  };
  for (int64_t j = 0; j < width; j += kPanel) {
    const int64_t columns = std::min(kPanel, width - j);
    const int64_t panel = columns <= kLanes ? kLanes : kPanel;
    prepare(j, columns, panel);
    const Destination to = {call.c + n0 + j, call.c_stride, columns, accumulate,
                            first && call.bias ? call.bias + n0 + j : nullptr};
    for (int64_t row = 0; row < call.m; row += kTileRows) {
      const int rows = static_cast<int>(std::min<int64_t>(kTileRows, call.m - row));
      if (panel == kLanes) {
        TileOf<1>(rows, slices, count, row, to);
      } else {
        TileOf<2>(rows, slices, count, row, to);
      }
    }
  }
}

void GemmBlocks(const GemmCall& call, Workspace& workspace) {
  size_t index = 0;
  int64_t offset = 0, total = 0;
  bool first = true;
  Part parts[kMaxParts];
  while (index < call.products.size()) {
    const int count = NextParts(call.products, index, offset, parts, total);
    for (int64_t n0 = 0; n0 < call.n; n0 += kColumns) {
      Block(call, parts, count, total, n0, std::min(kColumns, call.n - n0), first, workspace);
    }
    first = false;
  }
}

}  // namespace rivulet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rivulet::kernels {
HWY_EXPORT(GemmBlocks);

void Gemm(const GemmCall& call, Workspace& workspace) {
  HWY_DYNAMIC_DISPATCH(GemmBlocks)(call, workspace);
}

void Multiply(int64_t m, int64_t n, int64_t k, Matrix a, Matrix b, float* c, int64_t c_stride,
              bool accumulate, Workspace& workspace) {
  const Product product = {a, b, k};
  Gemm({m, n, {&product, 1}, c, c_stride, nullptr, accumulate}, workspace);
}

}  // namespace rivulet::kernels
#endif
