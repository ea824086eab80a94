#pragma once

#include "common/direction/direction.h"

namespace rivulet {

// z = 1 / sqrt(r) * (a_0 b_0^T + ... + a_{r-1} b_{r-1}^T): element k m + i of the stream of
// Purpose::kLeftFactor is the sign a_k[i], element k n + j of Purpose::kRightFactor is b_k[j]. An
// element of z is a whole number, summed exactly, times one rounded factor; (m + n) r bits are
// drawn for m n numbers.
class LowRankDirection : public Direction {
 public:
  // `left`, `right`: index of the streams of a and of b.
  LowRankDirection(int rank, uint64_t root, uint64_t left, uint64_t right);

  void Fill(const TensorPart& part, std::span<float> out) const override;

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

}  // namespace rivulet
