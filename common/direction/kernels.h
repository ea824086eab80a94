#pragma once

#include <cstdint>
#include <span>

#include "common/random.h"

// The loops under common/direction: vectorised, chosen for the machine at run time, and equal in
// every bit on every instruction set. Pointers may be unaligned. Each is a few lines that a CUDA
// kernel can repeat.
namespace rivulet::direction_kernels {

// out = the words of blocks first_block, first_block + 1, ... of (stream, tensor), in order.
// out.size() is a multiple of 4.
void FillWords(const RandomStream& stream, uint32_t tensor, uint64_t first_block,
               std::span<uint32_t> out);

// out = elements 4 first_block, ... of RandomStream::FillGauss.
void FillGauss(const RandomStream& stream, uint32_t tensor, uint64_t first_block,
               std::span<float> out);

// Signs from bits: s[i] = +1 for a 0, -1 for a 1 in bit (bit + i) % 32 of words[(bit + i) / 32],
// all of them the other way round with `flip`. One word beyond the last one used is read.
void FillSigns(const uint32_t* words, uint64_t bit, bool flip, std::span<float> out);  // out = s
void AddSigns(const uint32_t* words, uint64_t bit, bool flip, std::span<float> out);   // out += s

// w[i] = base[i] + scale * z[i], rounded once. base [n], z [n], w [n]; w may be base.
void AddScaled(float scale, std::span<const float> z, const float* base, float* w);
// The same in place on bfloat16: widened, computed in binary32, rounded to nearest even.
void AddScaled(float scale, std::span<const float> z, uint16_t* w);

// Sums of a dot product, the same on every machine: element i goes to sums[i % 16]; products are
// exact in double. z [n], g [n].
inline constexpr size_t kDotSums = 16;
void AddProducts(std::span<const float> z, const float* g, double* sums);

// Those sums, and their total by halves: 0 + 8, 1 + 9, ...; then 0 + 4, ...; 0 + 2, 1 + 3; 0 + 1.
struct DotSums {
  double sums[kDotSums] = {};
  double Total() const;
};

}  // namespace rivulet::direction_kernels
