#include "common/direction/rank_one_replay.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "common/direction/kernels.h"

namespace rivulet {
namespace {

constexpr int64_t kFewTerms = 256;  // whose sum fits into 32 bits: 256 kLargestFixed < 2^31
constexpr int64_t kTileRows = 64;   // a tile of sums, 256 KiB, stays in the second cache
constexpr int64_t kTileColumns = 1024;
static_assert(kFewTerms * kLargestFixed <= INT32_MAX);

// Bit i & 31 of word i / 32: the sign of element first + i of the stream; first % 128 == 0.
std::vector<uint32_t> BitsOf(const RandomStream& stream, uint32_t tensor, int64_t first,
                             int64_t count) {
  std::vector<uint32_t> words(static_cast<size_t>((count + 127) / 128 * 4));
  direction_kernels::FillWords(stream, tensor, static_cast<uint64_t>(first) / 128, words);
  return words;
}
bool Minus(const std::vector<uint32_t>& bits, int64_t i) {
  return bits[static_cast<size_t>(i / 32)] >> (i % 32) & 1;
}

// Columns of one tile of the matrix for the terms first .. first + count - 1, added up in 32 bits.
struct Tile {
  int64_t row, rows, column, columns;
};

void AddTerms(uint64_t root, uint64_t index, std::span<const int32_t> values, uint32_t tensor,
              const Tile& tile, int32_t* sums) {
  int32_t product[kTileColumns];
  for (size_t k = 0; k < values.size(); ++k) {
    const RandomStream left(root, Purpose::kLeftFactor, index + k);
    const RandomStream right(root, Purpose::kRightFactor, index + k);
    const int64_t row0 = tile.row / 128 * 128;
    const auto a = BitsOf(left, tensor, row0, tile.row - row0 + tile.rows);
    const auto b = BitsOf(right, tensor, tile.column, tile.columns);
    for (int64_t j = 0; j < tile.columns; ++j) product[j] = Minus(b, j) ? -values[k] : values[k];
    for (int64_t i = 0; i < tile.rows; ++i) {
      int32_t* const to = sums + i * kTileColumns;
      if (Minus(a, tile.row - row0 + i)) {
        for (int64_t j = 0; j < tile.columns; ++j) to[j] -= product[j];
      } else {
        for (int64_t j = 0; j < tile.columns; ++j) to[j] += product[j];
      }
    }
  }
}

// Gives `body` (element, sum) for every element of the matrix.
template <typename Body>
void ForSums(uint64_t root, uint64_t index, std::span<const int32_t> values,
             const TensorPart& matrix, Body body) {
  std::vector<int32_t> few(kTileRows * kTileColumns);
  std::vector<int64_t> sums(kTileRows * kTileColumns);
  for (int64_t row = 0; row < matrix.rows; row += kTileRows) {
    for (int64_t column = 0; column < matrix.columns; column += kTileColumns) {
      const Tile tile{row, std::min(kTileRows, matrix.rows - row), column,
                      std::min(kTileColumns, matrix.columns - column)};
      std::fill(sums.begin(), sums.end(), 0);
      for (size_t from = 0; from < values.size(); from += kFewTerms) {
        std::fill(few.begin(), few.end(), 0);
        const size_t count = std::min<size_t>(kFewTerms, values.size() - from);
        AddTerms(root, index + from, values.subspan(from, count), matrix.tensor, tile, few.data());
        for (size_t i = 0; i < sums.size(); ++i) sums[i] += few[i];
      }
      for (int64_t i = 0; i < tile.rows; ++i) {
        for (int64_t j = 0; j < tile.columns; ++j) {
          body((row + i) * matrix.columns + column + j, sums[i * kTileColumns + j]);
        }
      }
    }
  }
}

absl::Status CheckSize(const TensorPart& matrix, size_t size) {
  if (static_cast<int64_t>(size) == matrix.elements()) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "numbers of tensor " + std::to_string(matrix.tensor) + ": got " +
                    std::to_string(size) + ", want " + std::to_string(matrix.elements()));
}

}  // namespace

absl::StatusOr<FixedPoint> ToFixedPoint(std::span<const double> coefficients) {
  double largest = 0;
  for (double coefficient : coefficients) {
    if (!std::isfinite(coefficient)) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "coefficient: got " + std::to_string(coefficient) + ", want a finite one");
    }
    largest = std::max(largest, std::abs(coefficient));
  }
  FixedPoint fixed;
  if (largest > 0) {
    std::frexp(largest, &fixed.exponent);  // largest < 2^exponent
    fixed.exponent -= 23;
    if (std::nearbyint(std::ldexp(largest, -fixed.exponent)) > kLargestFixed) ++fixed.exponent;
  }
  for (double coefficient : coefficients) {
    fixed.values.push_back(
        static_cast<int32_t>(std::nearbyint(std::ldexp(coefficient, -fixed.exponent))));
  }
  return fixed;
}

absl::Status CheckRankOne(std::span<const int32_t> values, const TensorPart& matrix) {
  if (static_cast<int64_t>(values.size()) > kMostRankOne) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "coefficients: got " + std::to_string(values.size()) + ", want at most 2^23");
  }
  for (int32_t value : values) {
    if (value < -kLargestFixed || value > kLargestFixed) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "coefficient: got " + std::to_string(value) + ", want at most " +
                        std::to_string(kLargestFixed) + " either way");
    }
  }
  if (matrix.first != 0) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "tensor " + std::to_string(matrix.tensor) + ": got a part from element " +
                      std::to_string(matrix.first) + " on, want the whole");
  }
  return absl::OkStatus();
}

absl::Status SumRankOne(uint64_t root, uint64_t index, std::span<const int32_t> values,
                        const TensorPart& matrix, std::span<int64_t> sum) {
  RV_RETURN_IF_ERROR(CheckRankOne(values, matrix));
  RV_RETURN_IF_ERROR(CheckSize(matrix, sum.size()));
  ForSums(root, index, values, matrix, [&](int64_t i, int64_t total) { sum[i] = total; });
  return absl::OkStatus();
}

absl::Status AddRankOneReplay(uint64_t root, uint64_t index, const FixedPoint& coefficients,
                              const TensorPart& matrix, std::span<float> w) {
  RV_RETURN_IF_ERROR(CheckRankOne(coefficients.values, matrix));
  RV_RETURN_IF_ERROR(CheckSize(matrix, w.size()));
  ForSums(root, index, coefficients.values, matrix, [&](int64_t i, int64_t total) {
    w[i] += std::ldexp(static_cast<float>(total), coefficients.exponent);
  });
  return absl::OkStatus();
}

}  // namespace rivulet
