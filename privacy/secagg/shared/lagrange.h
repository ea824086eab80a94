#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"
#include "privacy/secagg/shared/gf16.h"

// Interpolation over GF(2^16) behind shamir.h. Points are public, values may be secret.
namespace rivulet::secagg {

// InvalidArgument when there are none, one is 0, or two are equal.
absl::Status CheckHolders(std::span<const uint16_t> xs);

// c_j = prod_{m != j} (at - x_m) / (x_j - x_m): the value at `at` is sum_j c_j y_j. `at` may be one
// of the points. The points must be distinct.
std::vector<uint16_t> LagrangeAt(uint16_t at, std::span<const uint16_t> xs);

// Which of the values may lie off the 16 polynomials of degree < threshold, given that at most
// `correctable` points are wrong; 2 correctable <= xs.size() - threshold. A wrong point is always
// named; up to `correctable` are in all. With more wrong points the answer is arbitrary.
std::vector<bool> LocateErrors(std::span<const uint16_t> xs, std::span<const gf16::Lanes> values,
                               size_t threshold, size_t correctable);

}  // namespace rivulet::secagg
