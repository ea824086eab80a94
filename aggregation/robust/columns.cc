#include "aggregation/robust/columns.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "aggregation/fixed_point_kernel.h"
#include "aggregation/robust/sorting_network.h"

namespace rivulet {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kRowStep = 4;  // networks exist for 4, 8, .. kMostNetworkRows rows
constexpr size_t kEight = 8;    // columns of a step
constexpr size_t kSteps = kPanelColumns / kEight;

// Rows of large tensors begin at the same offset of a page, so that reading n of them side by side
// keeps n lines of one set of the cache in use, which has eight. So kPanelColumns of each row are
// copied to a panel, where rows are not so far apart. Behind the n rows of values there are rows
// of infinities up to the size of the network, which stay at the end.
class Panel {
 public:
  Panel(size_t rows, size_t padded_rows)
      : values_(std::make_unique_for_overwrite<float[]>(padded_rows * kStride)) {
    std::fill_n(values_.get() + rows * kStride, (padded_rows - rows) * kStride, kInfinity);
  }
  float* row(size_t index) const { return values_.get() + index * kStride; }

 private:
  static constexpr size_t kStride = kPanelColumns + 16;
  std::unique_ptr<float[]> values_;
};

// What a network has to do: reduce the panel, and meanwhile bring the columns of the next one
// nearer, so that the memory does not wait for the processor nor the other way round.
struct PanelWork {
  const Panel* panel;
  const float* factors;                     // of padded rows, or nullptr
  size_t first, end;                        // ranks that are kept
  double* out;                              // kPanelColumns of them
  size_t steps;                             // kSteps where there is a whole next panel
  std::span<const float* const> next_rows;  // empty = there is none
  size_t next_column;
};

template <typename Floats, size_t kRows>
struct NetworkBody {
  static constexpr size_t kLanes = sizeof(Floats) / sizeof(float);
  static constexpr size_t kQuads = kLanes / 4;

  const PanelWork& work;

  RV_INLINE void operator()() const {
    const float* rows[kRows];
    for (size_t row = 0; row < kRows; ++row) rows[row] = work.panel->row(row);
    float sorted[kRows * kLanes];  // indexed by a variable, so not the registers
    for (size_t step = 0; step < work.steps; ++step) {
      Prefetch(step);
      for (size_t column = step * kEight; column < (step + 1) * kEight; column += kLanes) {
        Sort(rows, column, sorted);
        SumKept(sorted, work.out + column);
      }
    }
  }

 private:
  // In every step as much of the next panel as is sorted of this one, but row by row.
  RV_INLINE void Prefetch(size_t step) const {
    const size_t rows = work.next_rows.size();
    for (size_t eight = step * rows; eight < (step + 1) * rows; ++eight) {
      if (eight % 2 != 0) continue;  // a line has two
      const float* const row = work.next_rows[eight / kSteps] + work.next_column;
      __builtin_prefetch(row + eight % kSteps * kEight, 0, 2);
    }
  }

  RV_INLINE void Sort(const float* const* from, size_t column, float* sorted) const {
    Floats rows[kRows];
#pragma GCC unroll 32
    for (size_t row = 0; row < kRows; ++row) Load(rows[row], from[row] + column);
    if (work.factors != nullptr) {
#pragma GCC unroll 32
      for (size_t row = 0; row < kRows; ++row) rows[row] *= work.factors[row];
    }
    SortLanes(rows);
#pragma GCC unroll 32
    for (size_t row = 0; row < kRows; ++row) Store(sorted + row * kLanes, rows[row]);
  }

  RV_INLINE void SumKept(const float* sorted, double* out) const {
    Doubles4 sums[kQuads] = {};
    for (size_t row = work.first; row < work.end; ++row) {
#pragma GCC unroll 2
      for (size_t quad = 0; quad < kQuads; ++quad) {
        Floats4 lanes;
        Load(lanes, sorted + row * kLanes + 4 * quad);
        sums[quad] += __builtin_convertvector(lanes, Doubles4);
      }
    }
    const double kept = static_cast<double>(work.end - work.first);
#pragma GCC unroll 2
    for (size_t quad = 0; quad < kQuads; ++quad) {
      sums[quad] /= kept;
      Store(out + 4 * quad, sums[quad]);
    }
  }
};

template <size_t kRows>
void RunNetwork(const PanelWork& work, bool widest) {
  if (widest && CpuHasAvx2()) {
    RunWithAvx2(NetworkBody<Floats8, kRows>{work});
  } else {
    NetworkBody<Floats4, kRows>{work}();
  }
}

using Network = void (*)(const PanelWork&, bool widest);
constexpr auto kNetworks = []<size_t... kAt>(std::index_sequence<kAt...>) {
  return std::array<Network, sizeof...(kAt)>{RunNetwork<kRowStep*(kAt + 1)>...};
}
(std::make_index_sequence<kMostNetworkRows / kRowStep>());

// Panel after panel. The last one may be narrow; what is computed beyond its end is not used.
class PanelSorter {
 public:
  PanelSorter(const Columns& columns, size_t drop, bool widest)
      : columns_(columns),
        widest_(widest),
        padded_rows_((columns.rows.size() + kRowStep - 1) / kRowStep * kRowStep),
        panel_(columns.rows.size(), padded_rows_) {
    factors_.fill(1.0f);
    std::copy(columns.factors.begin(), columns.factors.end(), factors_.begin());
    work_.panel = &panel_;
    work_.factors = columns.factors.empty() ? nullptr : factors_.data();
    work_.first = drop;
    work_.end = columns.rows.size() - drop;
    work_.out = means_.data();
  }

  bool Run(const ColumnSink& sink) {
    for (size_t first = 0; first < columns_.count; first += kPanelColumns) {
      const size_t count = std::min(kPanelColumns, columns_.count - first);
      if (!Fetch(first, count)) return false;
      work_.steps = (count + kEight - 1) / kEight;
      work_.next_column = first + kPanelColumns;
      const bool whole_next = work_.next_column + kPanelColumns <= columns_.count;
      work_.next_rows = whole_next ? columns_.rows : std::span<const float* const>();
      kNetworks[padded_rows_ / kRowStep - 1](work_, widest_);
      sink(first, std::span(means_).first(count));
    }
    return true;
  }

 private:
  // False when a value is not finite.
  bool Fetch(size_t first, size_t count) {
    const size_t whole = (count + kEight - 1) / kEight * kEight;
    for (size_t row = 0; row < columns_.rows.size(); ++row) {
      float* const to = panel_.row(row);
      std::copy_n(columns_.rows[row] + first, count, to);
      std::fill_n(to + count, whole - count, 0.0f);
      if (LargestMagnitudeBits({to, count}) >= std::bit_cast<uint32_t>(kInfinity)) return false;
    }
    return true;
  }

  const Columns& columns_;
  bool widest_;
  size_t padded_rows_;
  Panel panel_;
  std::array<float, kMostNetworkRows> factors_;
  std::array<double, kPanelColumns> means_;
  PanelWork work_{};
};

bool SortEveryColumn(const Columns& columns, size_t drop, const ColumnSink& sink) {
  const size_t n = columns.rows.size();
  std::vector<float> values(n);
  std::array<double, kPanelColumns> means;
  bool finite = true;
  for (size_t first = 0; first < columns.count; first += kPanelColumns) {
    const size_t count = std::min(kPanelColumns, columns.count - first);
    for (size_t column = 0; column < count; ++column) {
      for (size_t row = 0; row < n; ++row) {
        const float factor = columns.factors.empty() ? 1.0f : columns.factors[row];
        values[row] = columns.rows[row][first + column];
        finite &= std::isfinite(values[row]);
        values[row] *= factor;
      }
      if (!finite) return false;  // before a sort that NaN would lead astray
      std::sort(values.begin(), values.end());
      double sum = 0;
      for (size_t rank = drop; rank < n - drop; ++rank) sum += values[rank];
      means[column] = sum / static_cast<double>(n - 2 * drop);
    }
    sink(first, std::span(means).first(count));
  }
  return true;
}

}  // namespace

bool TrimmedMeans(const Columns& columns, size_t drop, const ColumnSink& sink, bool widest) {
  if (columns.count == 0) return true;
  if (columns.rows.size() > kMostNetworkRows) return SortEveryColumn(columns, drop, sink);
  return PanelSorter(columns, drop, widest).Run(sink);
}

}  // namespace rivulet
