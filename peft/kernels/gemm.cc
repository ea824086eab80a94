#include "peft/kernels/gemm.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "peft/kernels/gemm.cc"
#include "hwy/foreach_target.h"  // compiles this file once per instruction set
//
#include "hwy/highway.h"
#include "peft/kernels/gemm_dots-inl.h"
#include "peft/kernels/gemm_pack-inl.h"
#include "peft/kernels/gemm_tile-inl.h"

// The loops of Goto and van de Geijn (2008): blocks of columns and of the inner dimension are
// packed into panels; the left operand is repacked only where that pays.
HWY_BEFORE_NAMESPACE();
namespace rivulet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Inner dimension of a block. With AVX2 a panel is 64 bytes wide and 352 rows of it stay in 32 KiB
// of L1; with AVX-512 it is twice as wide and the wider tile forgives a panel in L2.
#if HWY_TARGET <= HWY_AVX3
constexpr int64_t kInner = 768;
#else
constexpr int64_t kInner = 352;
#endif
constexpr int64_t kColumns = 512;        // columns of a block: kInner x kColumns fits L2
constexpr int64_t kDirectRows = 4 * 14;  // below this, packing costs more than it saves

bool HasNarrowProducts() {
#if HWY_TARGET == HWY_AVX3
  static const bool supported = __builtin_cpu_supports("avx512bf16");
  return supported;
#else
  return false;
#endif
}

// A run of summands, or of parts of them, whose inner dimensions add up to at most kInner.
struct Part {
  const Product* product;
  int64_t begin;
  int64_t k;
  Slice left;  // the left operand, ready; its k is that of the slice (words when narrow)
};
constexpr int kMaxParts = 16;

struct Group {
  Part parts[kMaxParts];
  int count = 0;
  int64_t words = 0;  // rows of a packed panel
};

// Moves the position (product, offset) on.
Group NextGroup(std::span<const Product> products, size_t& index, int64_t& offset) {
  Group group;
  int64_t total = 0;
  while (index < products.size() && group.count < kMaxParts && total < kInner) {
    const Product& product = products[index];
    const int64_t take = std::min(product.k - offset, kInner - total);
    if (take > 0) {
      const bool narrow = product.narrow && HasNarrowProducts();
      Part& part = group.parts[group.count++];
      part = {&product, offset, take, {}};
      part.left.narrow = narrow;
      part.left.k = narrow ? (take + 1) / 2 : take;
      group.words += part.left.k;
    }
    total += take;
    offset += take;
    if (offset >= product.k) {
      ++index;
      offset = 0;
    }
  }
  return group;
}

// Rows 2 KiB apart share cache sets, so that 14 of them evict each other.
bool RowsCollide(const Matrix& a) { return a.column_stride == 1 && a.row_stride % 512 == 0; }

// Fills the left slices, repacking what is narrow or collides.
void PrepareLeft(const GemmCall& call, Group& group, Workspace& workspace) {
  int64_t floats = 0;
  const auto repacked = [&](const Part& part) {
    return part.left.narrow || (call.m > kTileRows && RowsCollide(part.product->a));
  };
  for (int p = 0; p < group.count; ++p) {
    if (repacked(group.parts[p])) floats += call.m * (group.parts[p].left.k + 16);
  }
  float* to = floats > 0 ? workspace.rows.Resize(floats) : nullptr;
  for (int p = 0; p < group.count; ++p) {
    Part& part = group.parts[p];
    const Matrix& a = part.product->a;
    const float* from = a.data + part.begin * a.column_stride;
    if (!repacked(part)) {
      part.left.a = from;
      part.left.a_row = a.row_stride;
      part.left.a_column = a.column_stride;
      continue;
    }
    int64_t stride = part.left.k;
    if (stride % 512 == 0) stride += 16;
    part.left.a = to;
    part.left.a_row = stride;
    part.left.a_column = 1;
    for (int64_t row = 0; row < call.m; ++row, to += stride) {
      if (part.left.narrow) {
        NarrowRow(from + row * a.row_stride, a.column_stride, part.k, to);
      } else {
        std::memcpy(to, from + row * a.row_stride, part.k * sizeof(float));
      }
    }
  }
}

// Makes the slices of one panel, packing the right operands into `packed`.
void PreparePanel(const GemmCall& call, const Group& group, int64_t first, int64_t columns,
                  int64_t panel, float* packed, Slice* slices) {
  const bool direct = call.m <= kDirectRows && columns == panel;
  for (int p = 0; p < group.count; ++p) {
    const Part& part = group.parts[p];
    const Product& product = *part.product;
    Slice& slice = slices[p];
    slice = part.left;
    slice.b = packed;
    slice.b_row = panel;
    if (direct && !product.narrow && product.b.column_stride == 1) {
      slice.b = product.b.data + part.begin * product.b.row_stride + first;
      slice.b_row = product.b.row_stride;
      continue;
    }
    if (part.left.narrow) {
      PackWords(product, part.begin, part.k, first, columns, panel, packed);
    } else if (product.narrow) {
      PackWidened(product, part.begin, part.k, first, columns, panel, packed);
    } else {
      PackPanel(product.b, part.begin, part.k, first, columns, panel, packed);
    }
    packed += part.left.k * panel;
  }
}

// Rows of the next tile. The last two share what is left: a low tile waits for its own sums.
int RowsOfTile(int64_t left) {
  const int64_t share = left < 2 * kTileRows ? (left + 1) / 2 : kTileRows;
  return static_cast<int>(left <= kTileRows ? left : share);
}

// Columns first .. first + width of the result.
void Block(const GemmCall& call, const Group& group, int64_t first, int64_t width, bool initial,
           Workspace& workspace) {
  float* packed = workspace.packed.Resize(group.words * (width + kPanel));
  Slice slices[kMaxParts];
  for (int64_t j = 0; j < width; j += kPanel) {
    const int64_t columns = std::min(kPanel, width - j);
    const int64_t panel = columns <= kLanes ? kLanes : kPanel;
    PreparePanel(call, group, first + j, columns, panel, packed + j * group.words, slices);
    const Destination to = {call.c + first + j, call.c_stride, columns, call.accumulate || !initial,
                            initial && call.bias ? call.bias + first + j : nullptr};
    for (int64_t row = 0; row < call.m;) {
      const int rows = RowsOfTile(call.m - row);
      if (panel == kLanes) {
        TileOf<1>(rows, slices, group.count, row, to);
      } else {
        TileOf<2>(rows, slices, group.count, row, to);
      }
      row += rows;
    }
  }
}

void DotProducts(const GemmCall& call) { GemmDots(call); }

void GemmBlocks(const GemmCall& call, Workspace& workspace) {
  size_t index = 0;
  int64_t offset = 0;
  bool initial = true;
  while (index < call.products.size()) {
    Group group = NextGroup(call.products, index, offset);
    PrepareLeft(call, group, workspace);
    for (int64_t first = 0; first < call.n; first += kColumns) {
      Block(call, group, first, std::min(kColumns, call.n - first), initial, workspace);
    }
    initial = false;
  }
}

}  // namespace rivulet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rivulet::kernels {
HWY_EXPORT(GemmBlocks);
HWY_EXPORT(DotProducts);
HWY_EXPORT(HasNarrowProducts);

bool MultipliesBf16() { return HWY_DYNAMIC_DISPATCH(HasNarrowProducts)(); }

namespace {

// Below this many multiplications another thread costs more than it saves.
constexpr int64_t kWorthDividing = 1 << 19;
constexpr int64_t kGrainColumns = 64;  // whole panels whatever the vector width
constexpr int64_t kGrainRows = 42;     // whole tiles of 14 and of 6 rows
constexpr int64_t kDotRows = 3;

// Whether a call is computed as dot products: decided for the whole of it, as it decides the order
// of sums.
bool IsDots(const GemmCall& call) {
  if (call.m > kDotRows) return false;
  for (const Product& product : call.products) {
    if (product.b.row_stride != 1 || product.a.column_stride != 1) return false;
  }
  return true;
}

int64_t Multiplications(const GemmCall& call) {
  int64_t inner = 0;
  for (const Product& product : call.products) inner += product.k;
  return call.m * call.n * inner;
}

// Columns first .. last of a call.
GemmCall ColumnsOf(const GemmCall& call, int64_t first, int64_t last, std::vector<Product>& kept) {
  kept.assign(call.products.begin(), call.products.end());
  for (Product& product : kept) {
    const int64_t offset = first * product.b.column_stride;
    if (product.narrow) product.narrow += offset;
    if (product.b.data) product.b.data += offset;
  }
  GemmCall part = call;
  part.products = kept;
  part.n = last - first;
  part.c += first;
  if (part.bias) part.bias += first;
  return part;
}

// Rows first .. last of a call.
GemmCall RowsOf(const GemmCall& call, int64_t first, int64_t last, std::vector<Product>& kept) {
  kept.assign(call.products.begin(), call.products.end());
  for (Product& product : kept) product.a.data += first * product.a.row_stride;
  GemmCall part = call;
  part.products = kept;
  part.m = last - first;
  part.c += first * call.c_stride;
  return part;
}

}  // namespace

void Gemm(const GemmCall& call, Workspace& workspace) {
  const bool dots = !workspace.steady && IsDots(call);
  const auto compute = [dots](const GemmCall& part, Workspace& own) {
    if (dots) return HWY_DYNAMIC_DISPATCH(DotProducts)(part);
    HWY_DYNAMIC_DISPATCH(GemmBlocks)(part, own);
  };
  if (!workspace.team || Multiplications(call) < kWorthDividing) return compute(call, workspace);
  // Narrow results, those of low-rank terms, have too few columns for every thread.
  const bool by_rows = call.n < kGrainColumns * workspace.team->size() && call.m > call.n;
  Divide(workspace, by_rows ? call.m : call.n, by_rows ? kGrainRows : kGrainColumns,
         [&](int64_t first, int64_t last, Workspace& own) {
           std::vector<Product> kept;
           compute((by_rows ? RowsOf : ColumnsOf)(call, first, last, kept), own);
         });
}

void Multiply(int64_t m, int64_t n, int64_t k, Matrix a, Matrix b, float* c, int64_t c_stride,
              bool accumulate, Workspace& workspace) {
  const Product product = {a, b, k};
  Gemm({m, n, {&product, 1}, c, c_stride, nullptr, accumulate}, workspace);
}

}  // namespace rivulet::kernels
#endif
