#pragma once

#include <vector>

#include "common/direction/direction.h"

namespace rivulet {

// What a direction of low rank is over one matrix: z = scale * (a_0 b_0^T + ...), the signs as +1
// and -1.
struct LowRankFactors {
  std::vector<float> left;   // [r, m]: a_k
  std::vector<float> right;  // [r, n]: b_k
  float scale = 1;           // 1 / sqrt(r)
};

// z = 1 / sqrt(r) * (a_0 b_0^T + ... + a_{r-1} b_{r-1}^T): element k m + i of the stream of
// Purpose::kLeftFactor is the sign a_k[i], element k n + j of Purpose::kRightFactor is b_k[j]. An
// element of z is a whole number, summed exactly, times one rounded factor; (m + n) r bits are
// drawn for m n numbers.
class LowRankDirection : public Direction {
 public:
  // `left`, `right`: index of the streams of a and of b.
  LowRankDirection(int rank, uint64_t root, uint64_t left, uint64_t right);

  void Fill(const TensorPart& part, std::span<float> out) const override;

  // `matrix`: the whole tensor. (m + n) r numbers.
  LowRankFactors Factors(const TensorPart& matrix) const;

  // y += scale * x z^T without z: 2 r (m + n) operations a row in place of 2 m n.
  //   matrix  the whole tensor, m rows and n columns.
  //   x       [rows, n]
  //   y       [rows, m]
  // The same bits on every machine, but not those of x (w + scale z)^T.
  void AddProduct(const TensorPart& matrix, float scale, std::span<const float> x,
                  std::span<float> y) const;

  int rank() const { return rank_; }

 private:
  int rank_;
  float factor_;  // 1 / sqrt(r)
  RandomStream left_, right_;
};

// Direction number `index` of `root`; the settings are of kind kLowRank.
LowRankDirection LowRankDirectionOf(const DirectionSettings& settings, uint64_t root,
                                    uint64_t index);

}  // namespace rivulet
