#include "aggregation/robust/columns.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

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

// What a network has to do: reduce a panel that is there, and meanwhile fetch the next one, so that
// the memory does not wait for the processor nor the other way round.
struct PanelWork {
  const Panel* panel;
  const float* factors;  // of padded rows, or nullptr
  size_t first, end;     // ranks that are kept
  double* out;           // kPanelColumns of them
  size_t steps;          // kSteps where there is a next panel

  std::span<const float* const> next_rows;  // empty = there is no next panel
  size_t next_column;
  const Panel* next;
  Ints8* largest;  // magnitudes of what was fetched
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
    Ints8 largest = *work.largest;
    for (size_t step = 0; step < work.steps; ++step) {
      Fetch(step, largest);
      for (size_t column = step * kEight; column < (step + 1) * kEight; column += kLanes) {
        Sort(rows, column, sorted);
        SumKept(sorted, work.out + column);
      }
    }
    *work.largest = largest;
  }

 private:
  // In every step as much of the next panel as is sorted of this one, but row by row.
  RV_INLINE void Fetch(size_t step, Ints8& largest) const {
    const size_t rows = work.next_rows.size();
    size_t done = step * rows;  // of the eights of the next panel
    for (size_t left = rows; left > 0;) {
      const size_t row = done / kSteps;
      const size_t at = done % kSteps;
      const size_t count = std::min(left, kSteps - at);
      const float* const from = work.next_rows[row] + work.next_column + at * kEight;
      float* const to = work.next->row(row) + at * kEight;
      for (size_t eight = 0; eight < count; ++eight) {
        Ints8 bits;
        Load(bits, from + eight * kEight);
        Store(to + eight * kEight, bits);
        bits &= 0x7FFFFFFF;
        largest = bits > largest ? bits : largest;
      }
      done += count;
      left -= count;
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
        panels_{Panel(columns.rows.size(), padded_rows_),
                Panel(columns.rows.size(), padded_rows_)} {
    factors_.fill(1.0f);
    std::copy(columns.factors.begin(), columns.factors.end(), factors_.begin());
    work_.factors = columns.factors.empty() ? nullptr : factors_.data();
    work_.first = drop;
    work_.end = columns.rows.size() - drop;
    work_.out = means_.data();
    work_.largest = &largest_;
  }

  bool Run(const ColumnSink& sink) {
    size_t here = 0;  // of panels_
    FetchAlone(0, panels_[here]);
    for (size_t first = 0; first < columns_.count; first += kPanelColumns) {
      const size_t next = first + kPanelColumns;
      const bool whole_next = next + kPanelColumns <= columns_.count;
      work_.panel = &panels_[here];
      work_.next = &panels_[1 - here];
      work_.next_column = next;
      work_.next_rows = whole_next ? columns_.rows : std::span<const float* const>();
      work_.steps = StepsOf(first);
      kNetworks[padded_rows_ / kRowStep - 1](work_, widest_);
      if (!whole_next && next < columns_.count) FetchAlone(next, panels_[1 - here]);
      sink(first, std::span(means_).first(std::min(kPanelColumns, columns_.count - first)));
      here = 1 - here;
    }
    int32_t most = 0;
    for (size_t lane = 0; lane < kEight; ++lane) most = std::max(most, largest_[lane]);
    return most < std::bit_cast<int32_t>(kInfinity);
  }

 private:
  size_t StepsOf(size_t first) const {
    return (std::min(kPanelColumns, columns_.count - first) + kEight - 1) / kEight;
  }

  void FetchAlone(size_t first, const Panel& panel) {
    const size_t count = std::min(kPanelColumns, columns_.count - first);
    for (size_t row = 0; row < columns_.rows.size(); ++row) {
      const float* const from = columns_.rows[row] + first;
      std::copy_n(from, count, panel.row(row));
      std::fill_n(panel.row(row) + count, StepsOf(first) * kEight - count, 0.0f);
      int32_t most = 0;
      for (size_t column = 0; column < count; ++column) {
        most = std::max(most, std::bit_cast<int32_t>(from[column]) & 0x7FFFFFFF);
      }
      largest_[0] = std::max(largest_[0], most);
    }
  }

  const Columns& columns_;
  bool widest_;
  size_t padded_rows_;
  std::array<Panel, 2> panels_;
  std::array<float, kMostNetworkRows> factors_;
  std::array<double, kPanelColumns> means_;
  Ints8 largest_ = {};
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
