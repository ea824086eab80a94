#pragma once

#include <cstddef>
#include <cstdint>

// Inner loops of the codecs, compiled once for each instruction set and chosen when the program
// runs. Where two machines must agree (Hadamard, decoding) the result does not depend on the set.

namespace rivulet::codec_kernels {

// data [n] <- H data, unnormalised; n a power of two. Butterflies in ascending order of stride.
void Hadamard(float* data, size_t n);

// x[i] <- +-(x[i] * factor), minus where bit i of `bits` (32 to a word, least significant first)
// is set.
void FlipAndScale(float* x, size_t n, const uint32_t* bits, float factor);

// Blocks first .. first + count - 1 of the layout of NewRotation: out[b R + p] = flat[p m + first +
// b], zero beyond d. R = block size.
struct Dealing {
  size_t d, m, block_size;
};
void Deal(const Dealing& dealing, const float* flat, size_t first, size_t count, float* out);
// And back: only positions below d are written.
void Collect(const Dealing& dealing, const float* blocks, size_t first, size_t count, float* flat);

void Add(float* sum, const float* x, size_t n);       // sum += x
void Subtract(float* sum, const float* x, size_t n);  // sum -= x
void AddScaled(float* sum, const float* x, float factor, size_t n);

// Sums for the encoder's own use: the order of additions depends on the instruction set.
double SumOfMagnitudes(const float* x, size_t n);
double SumOfSquares(const float* x, size_t n);
float Dot(const float* a, const float* b, size_t n);
float LargestMagnitude(const float* x, size_t n);  // 0 for n = 0; no NaN

// Stochastic rounding in blocks. Each block of `block` values (the last may be shorter) has the
// scale s = absmax / top, stored; 0 when absmax < 2^-96. A value t = x gain / s + offset in units
// of one code is rounded to 16 fraction bits (nearest) and then up with exactly that probability,
// by 16 random bits of its own; codes are clamped to low .. high.
struct RoundingGrid {
  size_t block;
  float top;           // int8: 127, int4: 7, int2: 1
  float gain, offset;  // int8: 1, 0; int4: 1, 8; int2: 1.5, 1.5 (both in codes)
  int32_t low, high;   // int8: -127, 127; int4: 1, 15; int2: 0, 3
};
void RoundInBlocks(const RoundingGrid& grid, const float* x, size_t n, const uint16_t* random,
                   float* scales, int8_t* codes);
// A stretch of one block whose absmax is known; returns the scale.
float RoundOne(const RoundingGrid& grid, const float* x, size_t n, float absmax,
               const uint16_t* random, int8_t* codes);
// out = (code - offset) * (s / gain), one multiplication with a factor rounded once.
void ScaleInBlocks(const RoundingGrid& grid, const int8_t* codes, size_t n, const float* scales,
                   float* out);
// True when all codes are within low .. high.
bool CodesWithin(const int8_t* codes, size_t n, int32_t low, int32_t high);

// Codes of 4 or 2 bits, bytes of their own in memory, packed with the first in the lowest bits.
// Folding fills the last byte with zeros; unfolding writes all ceil(n / (8 / bits)) * (8 / bits).
void FoldCodes(const int8_t* codes, size_t n, uint32_t bits, uint8_t* packed);
void UnfoldCodes(const uint8_t* packed, size_t n, uint32_t bits, int8_t* codes);

// The rule of lattice.h, one word each; out clamped to +-limit. Returns how many were clamped.
size_t RoundToIntegers(const float* x, size_t n, double scale, double limit, const uint32_t* words,
                       int32_t* out);

// Bit i of `bits` = x[i] < 0, least significant first; whole bytes, the last filled with zeros.
void PackSigns(const float* x, size_t n, uint8_t* bits);
// out[i] = bit ? -scale : scale.
void UnpackSigns(const uint8_t* bits, size_t n, float scale, float* out);

// Appends base + i for every |x[i]| whose bits are >= threshold, at most `room` of them; returns
// how many there are, which may be more.
size_t IndicesAtLeast(const float* x, size_t n, uint32_t threshold, uint32_t base,
                      uint32_t* indices, size_t room);

// 16-bit floats, round to nearest even. The magnitudes must not exceed the largest finite one.
void ToBF16(const float* x, size_t n, uint16_t* out);
void ToF16(const float* x, size_t n, uint16_t* out);
// False when one of them is not finite.
bool FromBF16(const uint16_t* x, size_t n, float* out);
bool FromF16(const uint16_t* x, size_t n, float* out);

// Orders a[i] <= b[i].
void Order(float* a, float* b, size_t n);

// codes[i] = number of the centroid nearest to |x[i]|, plus `levels` for x[i] < 0. Returns the sum
// of |x[i]| times its centroid.
struct CentroidGrid {
  uint32_t levels;     // 1 .. 8
  float centroids[8];  // ascending
  float borders[8];    // from borders[i] on centroid i + 1 is nearer; in units of x
};
double NearestCentroids(const CentroidGrid& grid, const float* x, size_t n, uint16_t* codes);

// codes[i] = clamp(nearest(x[i] / scale), -limit, limit) + limit, all `limit` for scale 0. With a
// residual (may be x itself) residual[i] = x[i] - decoded.
void NearestCodes(const float* x, size_t n, float scale, int32_t limit, uint16_t* codes,
                  float* residual);

}  // namespace rivulet::codec_kernels
