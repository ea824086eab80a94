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

// Rows of a block of products by the matrix unit: they and the packed columns stay in L2.
constexpr int64_t kUnitBlockRows = 8 * kUnitRows;
// Summands as short as those of low-rank terms join a full group: another pass over the result
// would cost more.
constexpr int64_t kShortInner = 64;
constexpr int64_t kUnitValues = 2 * kUnitWords;

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

// Whether both operands go into a product as words of two bf16 values.
bool IsNarrow(const Product& product) {
  return product.narrow ? HasNarrowProducts() : product.may_round && NarrowByUnit();
}

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Words of a row of `values` bf16 numbers; the unit wants whole tiles of them.
int64_t WordsOf(int64_t values) {
  const int64_t words = (values + 1) / 2;
  return NarrowByUnit() ? RoundUp(words, kUnitWords) : words;
}

// A run of summands, or of parts of them, whose inner dimensions add up to at most kInner, a few
// short ones of the matrix unit aside.
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
  int64_t room = kInner;
  while (index < products.size() && group.count < kMaxParts) {
    const Product& product = products[index];
    const bool narrow = IsNarrow(product);
    const bool joins = group.by_unit && narrow && product.k <= kShortInner;
    int64_t take = joins ? product.k - offset : std::min(product.k - offset, room);
    if (narrow && NarrowByUnit() && take < product.k - offset) take -= take % kUnitValues;
    if (take == 0 && offset < product.k) break;
    if (take > 0) {
      Part& part = group.parts[group.count++];
      part = {&product, offset, take, {}};
      part.left.narrow = narrow;
      part.left.k = narrow ? WordsOf(take) : take;
      group.words += part.left.k;
      group.by_unit |= narrow && NarrowByUnit();
    }
    if (!joins) room -= take;
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

// TilesOfRows where neighbours of a column are contiguous: words of the columns, turned.
void TilesOfColumns(const Matrix& a, int64_t m, int64_t k, float* to) {
  const Matrix columns = Transposed(a);
  HWY_ALIGN float panel[kUnitWords * kUnitRows];
  for (int64_t first = 0; first < m; first += kUnitRows) {
    const int64_t rows = std::min(kUnitRows, m - first);
    for (int64_t begin = 0; begin < k; begin += kUnitValues, to += kUnitRows * kUnitWords) {
      const int64_t values = std::min(kUnitValues, k - begin);
      if (values < kUnitValues) std::fill(std::begin(panel), std::end(panel), 0.0f);
      PackRounded(columns, begin, values, first, rows, kUnitRows, panel);
      Transpose(panel, kUnitRows, kUnitWords, kUnitRows, to, kUnitWords);
    }
  }
}

// a [m, k] as the matrix unit reads it: strips of kUnitRows rows, of which the first kUnitWords
// words of every row follow each other, then the next ones.
void TilesOfRows(const Matrix& a, int64_t m, int64_t k, float* to) {
  if (a.row_stride == 1 && a.column_stride != 1) return TilesOfColumns(a, m, k, to);
  HWY_ALIGN float narrow[kInner / 2];
  const int64_t words = RoundUp(k, kUnitValues) / 2;
  for (int64_t row = 0; row < m; ++row) {
    const int64_t in_strip = row % kUnitRows;
    float* tile = to + (row - in_strip) * words + in_strip * kUnitWords;
    for (int64_t begin = 0; begin < k; begin += kInner) {
      const int64_t values = std::min(kInner, k - begin), whole = RoundUp(values, kUnitValues) / 2;
      std::fill(narrow + values / 2, narrow + whole, 0.0f);
      NarrowRow(a.data + row * a.row_stride + begin * a.column_stride, a.column_stride, values,
                narrow);
      for (int64_t word = 0; word < whole; word += kUnitWords, tile += kUnitRows * kUnitWords) {
        std::memcpy(tile, narrow + word, kUnitWords * sizeof(float));
      }
    }
  }
}

// Fills the left slices, repacking what collides or is narrow and not in tiles yet.
void PrepareLeft(const GemmCall& call, Group& group, Workspace& workspace) {
  int64_t floats = 0;
  const auto in_tiles = [](const Part& part) {
    return part.left.narrow && NarrowByUnit() && part.product->a.tiles.data;
  };
  const auto repacked = [&](const Part& part) {
    if (in_tiles(part)) return false;
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
    if (in_tiles(part)) {
      part.left.a = a.tiles.data + part.begin / 2 * kUnitRows;
      part.left.a_row = a.tiles.words;
      continue;
    }
    if (!repacked(part)) {
      part.left.a = from;
      part.left.a_row = a.row_stride;
      part.left.a_column = a.column_stride;
      continue;
    }
    if (part.left.narrow && NarrowByUnit()) {
      TilesOfRows({from, a.row_stride, a.column_stride}, call.m, part.k, to);
      part.left.a = to;
      part.left.a_row = part.left.k;
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
    if (direct && !part.left.narrow && !product.narrow && product.b.column_stride == 1) {
      slice.b = product.b.data + part.begin * product.b.row_stride + first;
      slice.b_row = product.b.row_stride;
      continue;
    }
    if (part.left.narrow) {
      if (product.narrow) {
        PackWords(product, part.begin, part.k, first, columns, panel, packed);
      } else {
        PackRounded(product.b, part.begin, part.k, first, columns, panel, packed);
      }
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

// Where a panel goes; `initial` is the first group of summands.
Destination PanelOf(const GemmCall& call, int64_t first, int64_t columns, bool initial) {
  return {call.c + first, call.c_stride, columns, call.accumulate || !initial,
          initial && call.bias ? call.bias + first : nullptr};
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
    for (int64_t row = 0; row < rows; ++row) {  // they are far apart and arrive while it multiplies
      __builtin_prefetch(to.c + row * to.stride, 1);
      __builtin_prefetch(to.c + row * to.stride + panel - 1, 1);
    }
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
    const float* const sums = spill + row * panel;
    float* const c = to.c + row * to.stride;
    if (!to.bias) {  // to the bit: also -0
      std::copy_n(sums, to.columns, c);
      continue;
    }
    for (int64_t column = 0; column < to.columns; ++column) {
      c[column] = sums[column] + to.bias[column];
    }
  }
}

// What one panel adds to rows begin .. end: narrow slices by the matrix unit, the others behind
// them while these rows are in the cache.
void UnitPanel(std::span<const Slice> slices, int64_t begin, int64_t end, int64_t panel,
               const Destination& to) {
  Slice wide[kMaxParts];
  WordSlice narrow[kMaxParts];
  int64_t strips[kMaxParts];
  int wides = 0, narrows = 0;
  for (const Slice& slice : slices) {
    if (slice.narrow) {
      strips[narrows] = kUnitRows * slice.a_row;
      narrow[narrows++] = {slice.a + begin * slice.a_row, slice.b, slice.k};
    } else {
      wide[wides++] = slice;
    }
  }
  for (int64_t first = begin; first < end; first += kUnitRows) {
    const int64_t last = std::min(first + kUnitRows, end);
    Destination strip = to;
    strip.c += first * to.stride;
    UnitTile({narrow, static_cast<size_t>(narrows)}, last - first, panel, strip);
    for (int each = 0; each < narrows; ++each) narrow[each].left += strips[each];
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

struct PanelSlices {
  Slice of[kMaxParts];
};

// Columns first .. first + width of the result; some of the group goes to the matrix unit.
void UnitBlock(const GemmCall& call, const Group& group, int64_t first, int64_t width, bool initial,
               Workspace& workspace) {
  float* packed = workspace.packed.Resize(group.words * (width + kPanel));
  PanelSlices slices[kColumns / kPanel];
  const auto for_each_panel = [&](const auto& body) {
    for (int64_t j = 0; j < width; j += kPanel) {
      const int64_t columns = std::min(kPanel, width - j);
      body(j, columns, columns <= kLanes ? kLanes : kPanel, slices[j / kPanel].of);
    }
  };
  for_each_panel([&](int64_t j, int64_t columns, int64_t panel, Slice* own) {
    PreparePanel(call, group, first + j, columns, panel, packed + j * group.words, own);
  });
  for (int64_t row = 0; row < call.m; row += kUnitBlockRows) {
    const int64_t end = std::min(row + kUnitBlockRows, call.m);
    for_each_panel([&](int64_t j, int64_t columns, int64_t panel, const Slice* own) {
      UnitPanel({own, static_cast<size_t>(group.count)}, row, end, panel,
                PanelOf(call, first + j, columns, initial));
    });
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
    const Destination to = PanelOf(call, first + j, columns, initial);
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

int64_t UnitWordsOf(int64_t values) { return NarrowByUnit() ? WordsOf(values) : 0; }

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
      const int64_t width = std::min(kColumns, call.n - first);
      (group.by_unit ? UnitBlock : Block)(call, group, first, width, initial, workspace);
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
HWY_EXPORT(TilesOfRows);
HWY_EXPORT(UnitWordsOf);

bool MultipliesBf16() { return HWY_DYNAMIC_DISPATCH(HasNarrowProducts)(); }

namespace {

// Below this many multiplications another thread costs more than it saves.
constexpr int64_t kWorthDividing = 1 << 19;
constexpr int64_t kGrainColumns = 64;  // whole panels whatever the vector width
constexpr int64_t kGrainRows = 42;     // whole tiles of 14 and of 6 rows
static_assert(kGrainColumns % kUnitRows == 0);
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
  for (Product& product : kept) {
    product.a.data += first * product.a.row_stride;
    if (product.a.tiles.data) product.a.tiles.data += first * product.a.tiles.words;
  }
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
  const bool tiles = std::any_of(call.products.begin(), call.products.end(),
                                 [](const Product& each) { return each.a.tiles.data != nullptr; });
  const int64_t grain = by_rows && !tiles ? kGrainRows : kGrainColumns;
  Divide(workspace, by_rows ? call.m : call.n, grain,
         [&](int64_t first, int64_t last, Workspace& own) {
           std::vector<Product> kept;
           compute((by_rows ? RowsOf : ColumnsOf)(call, first, last, kept), own);
         });
}

Tiles Tiles::From(int64_t column) const {
  if (!data || column % (2 * kUnitWords) != 0) return {};
  return {data + column / 2 * kUnitRows, words};
}

Tiles ToTiles(int64_t m, int64_t k, Matrix a, Scratch& to, Workspace& workspace) {
  const int64_t words = HWY_DYNAMIC_DISPATCH(UnitWordsOf)(k);
  if (words == 0) return {};
  float* const tiles = to.Resize((m + kUnitRows - 1) / kUnitRows * kUnitRows * words);
  Divide(workspace, m, kUnitRows, [&](int64_t first, int64_t last, Workspace&) {
    Matrix rows = a;
    rows.data += first * a.row_stride;
    HWY_DYNAMIC_DISPATCH(TilesOfRows)(rows, last - first, k, tiles + first * words);
  });
  return {tiles, words};
}

void Multiply(int64_t m, int64_t n, int64_t k, Matrix a, Matrix b, float* c, int64_t c_stride,
              bool accumulate, Workspace& workspace) {
  Multiply(m, n, {a, b, k}, c, c_stride, accumulate, workspace);
}

void Multiply(int64_t m, int64_t n, const Product& product, float* c, int64_t c_stride,
              bool accumulate, Workspace& workspace) {
  Gemm({m, n, {&product, 1}, c, c_stride, nullptr, accumulate}, workspace);
}

}  // namespace rivulet::kernels
#endif
