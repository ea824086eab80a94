#include "common/direction/low_rank.h"

#include <algorithm>
#include <cmath>

#include "common/direction/kernels.h"

namespace rivulet {
namespace {

// Signs first .. first + count - 1 of each of `rank` vectors of `length`, laid end to end in one
// stream.
class FactorBits {
 public:
  FactorBits(const RandomStream& stream, uint32_t tensor, int rank, int64_t length, int64_t first,
             int64_t count)
      : first_(first), length_(length), stride_((count + 127) / 128 * 4 + 8) {
    words_.resize(static_cast<size_t>(rank) * stride_);  // a block and a word more than they fill
    for (int k = 0; k < rank; ++k) {
      const uint64_t from = static_cast<uint64_t>(k * length + first);
      const uint64_t blocks = (from + static_cast<uint64_t>(count) - 1) / 128 - from / 128 + 1;
      direction_kernels::FillWords(stream, tensor, from / 128,
                                   {words_.data() + k * stride_, 4 * blocks});
    }
  }

  const uint32_t* words(int k) const { return words_.data() + k * stride_; }
  // Where the sign of element `i`, first <= i, lies in words(k).
  uint64_t BitOf(int k, int64_t i) const {
    return static_cast<uint64_t>((k * length_ + first_) % 128 + (i - first_));
  }
  bool Minus(int k, int64_t i) const {
    const uint64_t bit = BitOf(k, i);
    return words(k)[bit / 32] >> (bit % 32) & 1;
  }

 private:
  int64_t first_, length_, stride_;
  std::vector<uint32_t> words_;
};

std::vector<float> SignsOf(const FactorBits& bits, int rank, int64_t length) {
  std::vector<float> signs(static_cast<size_t>(rank * length));
  for (int k = 0; k < rank; ++k) {
    direction_kernels::FillSigns(bits.words(k), bits.BitOf(k, 0), false,
                                 {signs.data() + k * length, static_cast<size_t>(length)});
  }
  return signs;
}

}  // namespace

LowRankDirection::LowRankDirection(int rank, uint64_t root, uint64_t left, uint64_t right)
    : rank_(rank),
      factor_(static_cast<float>(1 / std::sqrt(static_cast<double>(rank)))),
      left_(root, Purpose::kLeftFactor, left),
      right_(root, Purpose::kRightFactor, right) {}

void LowRankDirection::Fill(const TensorPart& part, std::span<float> out) const {
  if (out.empty()) return;
  const int64_t n = part.columns;
  const int64_t end = part.first + static_cast<int64_t>(out.size());
  const int64_t first_row = part.first / n, rows = (end - 1) / n - first_row + 1;
  const int64_t first_column = rows > 1 ? 0 : part.first % n;
  const int64_t columns = rows > 1 ? n : end - part.first;
  const FactorBits a(left_, part.tensor, rank_, part.rows, first_row, rows);
  const FactorBits b(right_, part.tensor, rank_, n, first_column, columns);
  int64_t at = part.first;
  while (at < end) {
    const int64_t row = at / n, column = at % n;
    const int64_t count = std::min(n - column, end - at);
    const std::span<float> to =
        out.subspan(static_cast<size_t>(at - part.first), static_cast<size_t>(count));
    direction_kernels::FillSigns(b.words(0), b.BitOf(0, column), a.Minus(0, row), to);
    for (int k = 1; k < rank_; ++k) {
      direction_kernels::AddSigns(b.words(k), b.BitOf(k, column), a.Minus(k, row), to);
    }
    at += count;
  }
  if (rank_ > 1) {
    for (float& value : out) value *= factor_;
  }
}

LowRankFactors LowRankDirection::Factors(const TensorPart& matrix) const {
  const int64_t m = matrix.rows, n = matrix.columns;
  return {SignsOf(FactorBits(left_, matrix.tensor, rank_, m, 0, m), rank_, m),
          SignsOf(FactorBits(right_, matrix.tensor, rank_, n, 0, n), rank_, n), factor_};
}

void LowRankDirection::AddProduct(const TensorPart& matrix, float scale, std::span<const float> x,
                                  std::span<float> y) const {
  const int64_t m = matrix.rows, n = matrix.columns;
  const LowRankFactors factors = Factors(matrix);
  const double factor = double{scale} * double{factor_};
  for (int64_t row = 0; row * n < static_cast<int64_t>(x.size()); ++row) {
    float* const to = y.data() + row * m;
    for (int k = 0; k < rank_; ++k) {
      direction_kernels::DotSums sums;
      direction_kernels::AddProducts({factors.right.data() + k * n, static_cast<size_t>(n)},
                                     x.data() + row * n, sums.sums);
      direction_kernels::AddScaled(static_cast<float>(factor * sums.Total()),
                                   {factors.left.data() + k * m, static_cast<size_t>(m)}, to, to);
    }
  }
}

LowRankDirection LowRankDirectionOf(const DirectionSettings& settings, uint64_t root,
                                    uint64_t index) {
  return {settings.rank, root, index, index / static_cast<uint64_t>(settings.renewal)};
}

}  // namespace rivulet
