#include "aggregation/robust/kernels.h"

#include <algorithm>
#include <array>

#include "aggregation/robust/simd.h"

namespace rivulet {
namespace {

constexpr size_t kUnrolled = 4;  // sums side by side, to hide the latency of an addition
constexpr size_t kStep = 4 * kUnrolled;

// The sum of term(c) over [0, count), in kStep lanes; wide(c, lanes) gives four terms at once.
template <typename Wide, typename Term>
RV_INLINE double SumOf(size_t count, const Wide& wide, const Term& term) {
  Doubles4 sums[kUnrolled] = {};
  size_t column = 0;
  for (; column + kStep <= count; column += kStep) {
    for (size_t part = 0; part < kUnrolled; ++part) {
      Doubles4 terms;
      wide(column + 4 * part, terms);
      sums[part] += terms;
    }
  }
  const Doubles4 all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double sum = (all[0] + all[1]) + (all[2] + all[3]);
  for (; column < count; ++column) sum += term(column);
  return sum;
}

RV_INLINE void Widened(const float* from, Doubles4& to) {
  Floats4 lanes;
  Load(lanes, from);
  to = __builtin_convertvector(lanes, Doubles4);
}

struct NormBody {
  std::span<const float> x;
  double* out;
  RV_INLINE void operator()() const {
    *out = SumOf(
        x.size(),
        [&](size_t at, Doubles4 & terms) __attribute__((always_inline)) {
          Widened(x.data() + at, terms);
          terms *= terms;
        },
        [&](size_t at) __attribute__((always_inline)) {
          const double value = x[at];
          return value * value;
        });
  }
};

struct DistanceBody {
  std::span<const float> x;
  double factor;
  const double* centre;
  double* out;
  RV_INLINE void operator()() const {
    *out = SumOf(
        x.size(),
        [&](size_t at, Doubles4 & terms) __attribute__((always_inline)) {
          Doubles4 middle;
          Widened(x.data() + at, terms);
          Load(middle, centre + at);
          terms = factor * terms - middle;
          terms *= terms;
        },
        [&](size_t at) __attribute__((always_inline)) {
          const double difference = factor * x[at] - centre[at];
          return difference * difference;
        });
  }
};

struct DotBody {
  std::span<const float> x;
  const float* y;
  double* out;
  RV_INLINE void operator()() const {
    *out = SumOf(
        x.size(),
        [&](size_t at, Doubles4 & terms) __attribute__((always_inline)) {
          Doubles4 other;
          Widened(x.data() + at, terms);
          Widened(y + at, other);
          terms *= other;
        },
        [&](size_t at) __attribute__((always_inline)) {
          return static_cast<double>(x[at]) * static_cast<double>(y[at]);
        });
  }
};

struct DifferenceBody {
  std::span<const float> x;
  double fx;
  const float* y;
  double fy;
  double* out;
  RV_INLINE void operator()() const {
    *out = SumOf(
        x.size(),
        [&](size_t at, Doubles4 & terms) __attribute__((always_inline)) {
          Doubles4 other;
          Widened(x.data() + at, terms);
          Widened(y + at, other);
          terms = fx * terms - fy * other;
          terms *= terms;
        },
        [&](size_t at) __attribute__((always_inline)) {
          const double difference = fx * x[at] - fy * y[at];
          return difference * difference;
        });
  }
};

// Four rows in one pass over `out`, in order.
struct WeightedRowsBody {
  std::span<const float* const> rows;
  std::span<const double> weights;
  size_t count;
  double* out;
  RV_INLINE void operator()() const {
    size_t row = 0;
    for (; row + 4 <= rows.size(); row += 4) AddFour(row);
    for (; row < rows.size(); ++row) AddOne(rows[row], weights[row], out);
  }

 private:
  RV_INLINE void AddFour(size_t row) const {
    const float* const x0 = rows[row];
    const float* const x1 = rows[row + 1];
    const float* const x2 = rows[row + 2];
    const float* const x3 = rows[row + 3];
    const double w0 = weights[row], w1 = weights[row + 1];
    const double w2 = weights[row + 2], w3 = weights[row + 3];
    double* const __restrict to = out;
    for (size_t column = 0; column < count; ++column) {
      double sum = to[column];
      sum += w0 * x0[column];
      sum += w1 * x1[column];
      sum += w2 * x2[column];
      sum += w3 * x3[column];
      to[column] = sum;
    }
  }
  RV_INLINE void AddOne(const float* x, double weight, double* __restrict to) const {
    for (size_t column = 0; column < count; ++column) to[column] += weight * x[column];
  }
};

// A tile of kHigh x kWide dot products stays in registers: every vector that is loaded is used
// kHigh or kWide times.
struct GramBody {
  std::span<const float* const> rows;
  size_t count;
  double* scratch;
  double* gram;

  RV_INLINE void operator()() const {
    const size_t padded = (count + 3) / 4 * 4;
    for (size_t row = 0; row < rows.size(); ++row) {
      double* const to = scratch + row * kGramStride;
      for (size_t column = 0; column < count; ++column) to[column] = rows[row][column];
      for (size_t column = count; column < padded; ++column) to[column] = 0;
    }
    for (size_t begin = 0; begin < padded; begin += kBlock) {
      AddBlock(begin, std::min(begin + kBlock, padded));
    }
  }

 private:
  static constexpr size_t kBlock = 128;  // columns: a tile of them stays in the first cache

  RV_INLINE void AddBlock(size_t begin, size_t end) const {
    const size_t n = rows.size();
    for (size_t high = 0; high < n; high += kHigh) {
      for (size_t wide = high / kWide * kWide; wide < n; wide += kWide) {
        if (high + kHigh <= n && wide + kWide <= n) {
          Tile<kHigh, kWide>(high, wide, begin, end);
        } else {
          Edge(high, wide, begin, end);
        }
      }
    }
  }

  static constexpr size_t kHigh = 2;
  static constexpr size_t kWide = 4;

  template <size_t kRows, size_t kOthers>
  RV_INLINE void Tile(size_t first, size_t second, size_t begin, size_t end) const {
    const double* const left = scratch + first * kGramStride;
    const double* const right = scratch + second * kGramStride;
    Doubles4 sums[kRows][kOthers] = {};
    for (size_t column = begin; column < end; column += 4) {
      Doubles4 others[kOthers];
#pragma GCC unroll 4
      for (size_t j = 0; j < kOthers; ++j) Load(others[j], right + j * kGramStride + column);
#pragma GCC unroll 4
      for (size_t i = 0; i < kRows; ++i) {
        Doubles4 own;
        Load(own, left + i * kGramStride + column);
#pragma GCC unroll 4
        for (size_t j = 0; j < kOthers; ++j) sums[i][j] += own * others[j];
      }
    }
    const size_t n = rows.size();
#pragma GCC unroll 4
    for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (size_t j = 0; j < kOthers; ++j) {
        const Doubles4& sum = sums[i][j];
        if (first + i <= second + j) {
          gram[(first + i) * n + second + j] += (sum[0] + sum[1]) + (sum[2] + sum[3]);
        }
      }
    }
  }

  RV_INLINE void Edge(size_t high, size_t wide, size_t begin, size_t end) const {
    const size_t n = rows.size();
    for (size_t first = high; first < std::min(high + kHigh, n); ++first) {
      for (size_t second = wide; second < std::min(wide + kWide, n); ++second) {
        Tile<1, 1>(first, second, begin, end);
      }
    }
  }
};

}  // namespace

double SquaredNorm(std::span<const float> x, bool widest) {
  double sum = 0;
  RunWidest(NormBody{x, &sum}, widest);
  return sum;
}

double SquaredDistance(std::span<const float> x, double factor, const double* centre, bool widest) {
  double sum = 0;
  RunWidest(DistanceBody{x, factor, centre, &sum}, widest);
  return sum;
}

double DotOf(std::span<const float> x, const float* y, bool widest) {
  double sum = 0;
  RunWidest(DotBody{x, y, &sum}, widest);
  return sum;
}

double SquaredDifference(std::span<const float> x, double fx, const float* y, double fy,
                         bool widest) {
  double sum = 0;
  RunWidest(DifferenceBody{x, fx, y, fy, &sum}, widest);
  return sum;
}

void AddWeightedRows(std::span<const float* const> rows, std::span<const double> weights,
                     size_t count, double* out, bool widest) {
  RunWidest(WeightedRowsBody{rows, weights, count, out}, widest);
}

void AddGram(std::span<const float* const> rows, size_t count, double* scratch, double* gram,
             bool widest) {
  RunWidest(GramBody{rows, count, scratch, gram}, widest);
}

}  // namespace rivulet
