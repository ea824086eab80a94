#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/tensor/parameter_set.h"

namespace rivulet {

// A tensor as a matrix of `rows` x `columns` at `offset` of the flat vector. rank 0: low rank would
// not make it smaller, it travels as it is.
struct LowRankPart {
  size_t offset, rows, columns, rank;
  size_t size() const { return rows * columns; }
};
std::vector<LowRankPart> LowRankPartsOf(const Manifest& manifest, uint32_t rank);

// Q^T [rank, columns] of tensor `position`: public, rows orthonormal.
std::vector<float> PublicFactor(const LowRankPart& part, size_t position, uint64_t root,
                                uint64_t index);
// factor [rank, length]: makes the rows orthonormal (modified Gram-Schmidt, twice, in binary64, in
// one fixed order); rows that depend on earlier ones become zero.
void Orthonormalise(size_t rank, std::span<float> factor);

// left [rank, rows] = (M Q)^T for q [rank, columns] = Q^T.
void MultiplyLeft(const LowRankPart& part, const float* matrix, std::span<const float> q,
                  std::span<float> left);
// right [rank, columns] = (M^T P)^T for p [rank, rows] = P^T.
void MultiplyRight(const LowRankPart& part, const float* matrix, std::span<const float> p,
                   std::span<float> right);
// matrix = P R^T from p [rank, rows], r [rank, columns].
void MultiplyOut(const LowRankPart& part, std::span<const float> p, std::span<const float> r,
                 float* matrix);

}  // namespace rivulet
