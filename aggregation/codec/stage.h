#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace rivulet {

// A linear map with shared randomness: sum_k Project(x_k) = Project(sum_k x_k) up to the rounding
// of binary32, so that clients may round and mask projections and the server needs only their sum.
// The flat vector is the concatenation of all F32 tensors in manifest order.
//
// Whoever calls Expand with the same arguments gets the same bits on every machine: sums run in an
// order that does not depend on the width of vectors. Const methods are safe from many threads.
class LinearStage {
 public:
  virtual ~LinearStage() = default;
  virtual std::string_view name() const = 0;

  // Length of the projection of `d` numbers.
  virtual size_t OutputSize(size_t d) const = 0;
  // flat [d] -> out [OutputSize(d)], overwritten. Aborts when the sizes do not fit.
  virtual void Project(std::span<const float> flat, std::span<float> out) const = 0;
  // mean [OutputSize(d)] -> flat [d], overwritten: what the projection tells about the vector.
  // Aborts when the sizes do not fit.
  virtual void Expand(std::span<const float> mean, std::span<float> flat) const = 0;
};

}  // namespace rivulet
