#include "common/direction/rank_one_replay.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "common/direction/kernels.h"

namespace rivulet {
namespace {

constexpr int64_t kTerms = 64;  // whose sum fits into 32 bits
static_assert(kTerms * kLargestFixed <= INT32_MAX);
constexpr int64_t kGroup = 4;   // terms that are looked up together
constexpr int64_t kSigns = 16;  // ways of their signs
constexpr int64_t kGroups = kTerms / kGroup;
constexpr size_t kPolledBlocks = 64;  // blocks of terms of a tile: milliseconds
constexpr int64_t kTileRows = 256;
constexpr int64_t kTileColumns = 128;  // of a block of random words; 256 KiB of sums a tile

// Columns that are added up together, in as many registers as the machine needs for them.
constexpr int64_t kLanes = 32;
using Lanes = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

// The streams of all terms that count, and their values followed by zeros up to whole blocks of
// kTerms.
struct Terms {
  Terms(uint64_t root, uint64_t index, std::span<const int32_t> given) {
    for (uint64_t k = 0; k < given.size(); ++k) {
      if (given[k] == 0) continue;  // of candidates most are
      left.emplace_back(root, Purpose::kLeftFactor, index + k);
      right.emplace_back(root, Purpose::kRightFactor, index + k);
      values.push_back(given[k]);
    }
    values.resize((values.size() + kTerms - 1) / kTerms * kTerms);
  }
  size_t blocks() const { return values.size() / kTerms; }

  std::vector<RandomStream> left, right;
  std::vector<int32_t> values;
};

// For 128 elements from `first` on, a multiple of 128: bit i & 31 of word i / 32 is the sign.
struct SignWords {
  SignWords(const RandomStream& stream, uint32_t tensor, int64_t first) {
    direction_kernels::FillWords(stream, tensor, static_cast<uint64_t>(first) / 128, words);
  }
  uint32_t Minus(int64_t i) const { return words[i / 32] >> (i % 32) & 1; }
  uint32_t words[4];
};

// ways[block][row][group]: the signs of a row in each group of terms, a bit a term.
std::vector<uint8_t> WaysOf(const Terms& terms, uint32_t tensor, int64_t row, int64_t rows) {
  std::vector<uint8_t> ways(terms.blocks() * kTileRows * kGroups);
  for (size_t k = 0; k < terms.left.size(); ++k) {
    uint8_t* const block = ways.data() + k / kTerms * kTileRows * kGroups;
    const size_t group = k % kTerms / kGroup;
    for (int64_t first = 0; first < rows; first += 128) {
      const SignWords a(terms.left[k], tensor, row + first);
      for (int64_t i = 0; i < std::min<int64_t>(128, rows - first); ++i) {
        block[static_cast<size_t>(first + i) * kGroups + group] |=
            static_cast<uint8_t>(a.Minus(i) << k % kGroup);
      }
    }
  }
  return ways;
}

// table[group][way]: the sum of the group's terms v_k b_k for each way of the row's signs.
void FillTable(const Lanes* terms, Lanes* table) {
  for (int64_t group = 0; group < kGroups; ++group, terms += kGroup, table += kSigns) {
    table[0] = terms[0] + terms[1] + terms[2] + terms[3];
    for (int64_t way = 1; way < kSigns; ++way) {
      const int64_t flipped = way & -way;  // the lowest bit that is set
      const int64_t term = flipped == 1 ? 0 : flipped == 2 ? 1 : flipped == 4 ? 2 : 3;
      table[way] = table[way ^ flipped] - 2 * terms[term];
    }
  }
}

// Adds one block of terms to sums [kTileRows, kTileColumns].
void AddBlock(const Terms& terms, size_t block, uint32_t tensor, const uint8_t* ways, int64_t rows,
              int64_t column, int64_t columns, int64_t* sums) {
  const size_t count = std::min<size_t>(kTerms, terms.right.size() - block * kTerms);
  std::vector<SignWords> signs;
  for (size_t k = 0; k < count; ++k)
    signs.emplace_back(terms.right[block * kTerms + k], tensor, column);
  Lanes products[kTerms], table[kGroups * kSigns];
  for (int64_t first = 0; first < columns; first += kLanes) {
    for (size_t k = 0; k < static_cast<size_t>(kTerms); ++k) {
      const int32_t value = terms.values[block * kTerms + k];
      for (int64_t j = 0; j < kLanes; ++j) {
        products[k][j] = k < count && signs[k].Minus(first + j) ? -value : value;
      }
    }
    FillTable(products, table);
    for (int64_t i = 0; i < rows; ++i) {
      Lanes sum = {};
      for (int64_t group = 0; group < kGroups; ++group) {
        sum += table[group * kSigns + ways[i * kGroups + group]];
      }
      int64_t* const to = sums + i * kTileColumns + first;
      for (int64_t j = 0; j < kLanes; ++j) to[j] += sum[j];
    }
  }
}

// Gives `body` (element, sum) for every element of the matrix. Four terms at a time are one look-up
// in a table of the sums of all their signs (the method of four Russians, Arlazarov et al. 1970).
template <typename Body>
absl::Status ForSums(uint64_t root, uint64_t index, std::span<const int32_t> values,
                     const TensorPart& matrix, const std::function<bool()>& cancelled, Body body) {
  const Terms terms(root, index, values);
  std::vector<int64_t> sums(kTileRows * kTileColumns);
  for (int64_t row = 0; row < matrix.rows; row += kTileRows) {
    const int64_t rows = std::min(kTileRows, matrix.rows - row);
    const std::vector<uint8_t> ways = WaysOf(terms, matrix.tensor, row, rows);
    for (int64_t column = 0; column < matrix.columns; column += kTileColumns) {
      const int64_t columns = std::min(kTileColumns, matrix.columns - column);
      std::fill(sums.begin(), sums.end(), 0);
      for (size_t block = 0; block < terms.blocks(); ++block) {
        if (block % kPolledBlocks == 0 && cancelled && cancelled()) {
          return absl::AbortedError("replay: cancelled");
        }
        AddBlock(terms, block, matrix.tensor, ways.data() + block * kTileRows * kGroups, rows,
                 column, columns, sums.data());
      }
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) {
          body((row + i) * matrix.columns + column + j, sums[i * kTileColumns + j]);
        }
      }
    }
  }
  return absl::OkStatus();
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
  return ForSums(root, index, values, matrix, {},
                 [&](int64_t i, int64_t total) { sum[i] = total; });
}

absl::Status AddRankOneReplay(uint64_t root, uint64_t index, const FixedPoint& coefficients,
                              const TensorPart& matrix, std::span<float> w,
                              const std::function<bool()>& cancelled) {
  RV_RETURN_IF_ERROR(CheckRankOne(coefficients.values, matrix));
  RV_RETURN_IF_ERROR(CheckSize(matrix, w.size()));
  return ForSums(root, index, coefficients.values, matrix, cancelled,
                 [&](int64_t i, int64_t total) {
                   w[i] += std::ldexp(static_cast<float>(total), coefficients.exponent);
                 });
}

}  // namespace rivulet
