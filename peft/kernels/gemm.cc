#include "peft/kernels/gemm.h"

#include <algorithm>
#include <cstring>
#include <optional>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "peft/kernels/gemm.cc"
#include "hwy/foreach_target.h"  // compiles this file once per instruction set
//
#include "hwy/highway.h"
#include "peft/kernels/gemm_dots-inl.h"
#include "peft/kernels/gemm_pack-inl.h"
#include "peft/kernels/gemm_tile-inl.h"
#include "peft/kernels/matrix_unit.h"

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

// Whether narrow products go to the matrix unit. Decided for the process, not by the shape: a row
// of the result must not depend on how many there are.
bool NarrowByUnit() {
#if HWY_TARGET == HWY_AVX3
  static const bool unit = HasNarrowProducts() && HasMatrixUnit();
  return unit;
#else
  return false;
#endif
}

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Words of a row of `values` bf16 numbers; the unit wants whole tiles of them.
int64_t WordsOf(int64_t values) {
  const int64_t words = (values + 1) / 2;
  return NarrowByUnit() ? RoundUp(words, kUnitWords) : words;
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
  int64_t words = 0;     // rows of a packed panel
  bool by_unit = false;  // some of it goes to the matrix unit
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
      part.left.k = narrow ? WordsOf(take) : take;
      group.words += part.left.k;
      group.by_unit |= narrow && NarrowByUnit();
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

// The rows [call.m, k] of `from` as the matrix unit reads them: strips of kUnitRows rows, of which
// the first kUnitWords words of every row follow each other, then the next ones.
void NarrowTiles(const GemmCall& call, const Part& part, const float* from, float* to) {
  const Matrix& a = part.product->a;
  const int64_t words = part.left.k;
  HWY_ALIGN float narrow[kInner / 2];
  std::fill(narrow, narrow + words, 0.0f);  // the last ones may not be written
  for (int64_t row = 0; row < call.m; ++row) {
    NarrowRow(from + row * a.row_stride, a.column_stride, part.k, narrow);
    const int64_t in_strip = row % kUnitRows;
    float* tile = to + (row - in_strip) * words + in_strip * kUnitWords;
    for (int64_t word = 0; word < words; word += kUnitWords, tile += kUnitRows * kUnitWords) {
      std::memcpy(tile, narrow + word, kUnitWords * sizeof(float));
    }
  }
}

// Fills the left slices, repacking what is narrow or collides.
void PrepareLeft(const GemmCall& call, Group& group, Workspace& workspace) {
  int64_t floats = 0;
  const auto repacked = [&](const Part& part) {
    return part.left.narrow || (call.m > kTileRows && RowsCollide(part.product->a));
  };
  // Rows beyond the last one are multiplied as well, and thrown away.
  const int64_t rows = NarrowByUnit() ? RoundUp(call.m, kUnitRows) : call.m;
  for (int p = 0; p < group.count; ++p) {
    if (repacked(group.parts[p])) floats += rows * (group.parts[p].left.k + 16);
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
    if (part.left.narrow && NarrowByUnit()) {
      NarrowTiles(call, part, from, to);
      part.left.a = to;
      to += rows * part.left.k;
      continue;
    }
    int64_t stride = part.left.k;
    if (stride % 512 == 0) stride += 16;
    part.left.a = to;
    part.left.a_row = stride;
    part.left.a_column = 1;
    for (int64_t row = 0; row < call.m; ++row) {
      float* const row_to = to + row * stride;
      if (part.left.narrow) {
        NarrowRow(from + row * a.row_stride, a.column_stride, part.k, row_to);
      } else {
        std::memcpy(row_to, from + row * a.row_stride, part.k * sizeof(float));
      }
    }
    to += rows * stride;
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
      const int64_t words = (part.k + 1) / 2;
      std::fill(packed + words * panel, packed + part.left.k * panel, 0.0f);
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

// Narrow slices of the rows of one panel, by the matrix unit; `to` is that of the rows.
void UnitTile(std::span<const WordSlice> slices, int64_t rows, int64_t panel,
              const Destination& to) {
  if (rows == kUnitRows && to.columns == panel && !to.bias) {
    return MultiplyWords(slices, panel, to.c, to.stride, to.accumulate);
  }
  HWY_ALIGN float spill[kUnitRows * 2 * kLanes];
  if (to.accumulate) {
    for (int64_t row = 0; row < rows; ++row) {
      std::copy_n(to.c + row * to.stride, to.columns, spill + row * panel);
    }
  }
  MultiplyWords(slices, panel, spill, panel, to.accumulate);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < to.columns; ++column) {
      const float sum = spill[row * panel + column];  // without a bias to the bit: also -0
      to.c[row * to.stride + column] = to.bias ? sum + to.bias[column] : sum;
    }
  }
}

// What one panel adds to the result: narrow slices by the matrix unit, the others behind them while
// these rows are in the cache.
void UnitPanel(const GemmCall& call, std::span<const Slice> slices, int64_t panel,
               const Destination& to) {
  Slice wide[kMaxParts];
  WordSlice narrow[kMaxParts];
  int wides = 0, narrows = 0;
  for (const Slice& slice : slices) {
    if (slice.narrow) {
      narrow[narrows++] = {slice.a, slice.b, slice.k};
    } else {
      wide[wides++] = slice;
    }
  }
  for (int64_t first = 0; first < call.m; first += kUnitRows) {
    const int64_t last = std::min(first + kUnitRows, call.m);
    Destination strip = to;
    strip.c += first * to.stride;
    UnitTile({narrow, static_cast<size_t>(narrows)}, last - first, panel, strip);
    for (int each = 0; each < narrows; ++each) narrow[each].left += kUnitRows * narrow[each].words;
    Destination more = to;
    more.accumulate = true;
    more.bias = nullptr;
    for (int64_t row = first; wides > 0 && row < last;) {
      const int rows = RowsOfTile(last - row);
      panel == kLanes ? TileOf<1>(rows, wide, wides, row, more)
                      : TileOf<2>(rows, wide, wides, row, more);
      row += rows;
    }
  }
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
    if (group.by_unit) {
      UnitPanel(call, {slices, static_cast<size_t>(group.count)}, panel, to);
      continue;
    }
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
    std::optional<MatrixUnit> unit;
    if (group.by_unit) unit.emplace();
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
