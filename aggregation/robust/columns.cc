#include "aggregation/robust/columns.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <utility>
#include <vector>

#include "aggregation/fixed_point_kernel.h"
#include "aggregation/robust/sorting_network.h"

namespace rivulet {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kRowStep = 4;  // networks exist for 4, 8, .. kMostNetworkRows rows

// What a network is given: the rows, then rows of infinities up to its size, which stay at the end.
struct PaddedColumns {
  std::array<const float*, kMostNetworkRows> rows;
  std::array<float, kMostNetworkRows> factors;
  bool scaled;
  size_t count;       // of columns
  size_t first, end;  // ranks that are kept
  double* out;
};

template <typename Floats>
struct LanesOf;
template <>
struct LanesOf<Floats8> {
  using Doubles = double __attribute__((vector_size(64)));
};
template <>
struct LanesOf<Floats4> {
  using Doubles = Doubles4;
};

template <typename Floats, size_t kRows>
struct NetworkBody {
  const PaddedColumns& columns;

  RV_INLINE void operator()() const {
    constexpr size_t kLanes = sizeof(Floats) / sizeof(float);
    using Doubles = typename LanesOf<Floats>::Doubles;
    const double kept = static_cast<double>(columns.end - columns.first);
    float sorted[kRows * kLanes];  // indexed by a variable, so not the registers
    size_t column = 0;
    while (column < columns.count) {
      // The last step goes over columns that are done already.
      column = std::min(column, columns.count - std::min(columns.count, kLanes));
      Sort(column, sorted);
      Doubles sum = {};
      for (size_t row = columns.first; row < columns.end; ++row) {
        Floats lanes;
        Load(lanes, sorted + row * kLanes);
        sum += __builtin_convertvector(lanes, Doubles);
      }
      sum /= kept;
      Store(columns.out + column, sum);
      column += kLanes;
    }
  }

 private:
  RV_INLINE void Sort(size_t column, float* sorted) const {
    Floats rows[kRows];
#pragma GCC unroll 32
    for (size_t row = 0; row < kRows; ++row) Load(rows[row], columns.rows[row] + column);
    if (columns.scaled) {
#pragma GCC unroll 32
      for (size_t row = 0; row < kRows; ++row) rows[row] *= columns.factors[row];
    }
    SortLanes(rows);
#pragma GCC unroll 32
    for (size_t row = 0; row < kRows; ++row) Store(sorted + row * sizeof(Floats) / 4, rows[row]);
  }
};

template <size_t kRows>
void RunNetwork(const PaddedColumns& columns, bool widest) {
  if (widest && CpuHasAvx2()) {
    RunWithAvx2(NetworkBody<Floats8, kRows>{columns});
  } else {
    NetworkBody<Floats4, kRows>{columns}();
  }
}

void PadAndRun(const Columns& columns, size_t drop, double* out, bool widest) {
  using Network = void (*)(const PaddedColumns&, bool);
  static constexpr auto kNetworks = []<size_t... kAt>(std::index_sequence<kAt...>) {
    return std::array<Network, sizeof...(kAt)>{RunNetwork<kRowStep*(kAt + 1)>...};
  }
  (std::make_index_sequence<kMostNetworkRows / kRowStep>());
  static constexpr auto kInfinities = [] {
    std::array<float, kMostColumns> values{};
    for (float& value : values) value = kInfinity;
    return values;
  }();
  const size_t n = columns.rows.size();
  PaddedColumns padded;
  padded.rows.fill(kInfinities.data());
  std::copy(columns.rows.begin(), columns.rows.end(), padded.rows.begin());
  padded.factors.fill(1.0f);
  std::copy(columns.factors.begin(), columns.factors.end(), padded.factors.begin());
  padded.scaled = !columns.factors.empty();
  padded.count = columns.count;
  padded.first = drop;
  padded.end = n - drop;
  padded.out = out;
  kNetworks[(n - 1) / kRowStep](padded, widest);
}

// The networks read and write whole vectors.
constexpr size_t kLeastColumns = 8;

void SortEveryColumn(const Columns& columns, size_t drop, double* out) {
  const size_t n = columns.rows.size();
  std::vector<float> values(n);
  for (size_t column = 0; column < columns.count; ++column) {
    for (size_t row = 0; row < n; ++row) {
      const float factor = columns.factors.empty() ? 1.0f : columns.factors[row];
      values[row] = columns.rows[row][column] * factor;
    }
    std::sort(values.begin(), values.end());
    double sum = 0;
    for (size_t rank = drop; rank < n - drop; ++rank) sum += values[rank];
    out[column] = sum / static_cast<double>(n - 2 * drop);
  }
}

}  // namespace

bool TrimmedMeans(const Columns& columns, size_t drop, double* out, bool widest) {
  for (const float* row : columns.rows) {  // which also brings the stretch nearer, row by row
    if (LargestMagnitudeBits({row, columns.count}) >= std::bit_cast<uint32_t>(kInfinity)) {
      return false;
    }
  }
  if (columns.rows.size() > kMostNetworkRows || columns.count < kLeastColumns) {
    SortEveryColumn(columns, drop, out);
  } else {
    PadAndRun(columns, drop, out, widest);
  }
  return true;
}

}  // namespace rivulet
