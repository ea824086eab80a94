#pragma once

#include <cstdint>

#include "common/direction/cuda/kernels.h"
#include "common/philox.h"

// Words and normal pairs of a stream on the device: the operations of common/random.cc in the same
// order, each with its rounding written out.

namespace rivulet::direction_cuda {

__device__ inline PhiloxBlock BlockOf(const StreamKey& stream, uint64_t block, uint32_t tensor) {
  return Philox(
      {{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), tensor, stream.lane}},
      {{stream.key[0], stream.key[1]}});
}

// Two standard normal numbers from two words: GaussPair of common/random.cc.
__device__ inline float2 NormalPair(uint32_t a, uint32_t b) {
  const uint32_t bits = __float_as_uint(__uint2float_rn((a >> 8) + 1));  // exact, 1 .. 2^24
  int exponent = static_cast<int>(bits >> 23) - 127 - 24;
  float u = __uint_as_float((bits & 0x7FFFFFu) | 0x3F800000u);
  if (__float_as_uint(u) >= 0x3FB504F3u) {
    u = __fmul_rn(u, 0.5f);
    ++exponent;
  }
  const float x = __fadd_rn(u, -1.0f);
  float p = __uint_as_float(0xBDA24D7F);
  p = __fmaf_rn(p, x, __uint_as_float(0x3E0310E9));
  p = __fmaf_rn(p, x, __uint_as_float(0xBE05CD8C));
  p = __fmaf_rn(p, x, __uint_as_float(0x3E115118));
  p = __fmaf_rn(p, x, __uint_as_float(0xBE2A505D));
  p = __fmaf_rn(p, x, __uint_as_float(0x3E4CD1EA));
  p = __fmaf_rn(p, x, __uint_as_float(0xBE8000BF));
  p = __fmaf_rn(p, x, __uint_as_float(0x3EAAAAA6));
  const float x2 = __fmul_rn(x, x);
  const float x3 = __fmul_rn(x2, x);
  const float log1 = __fmaf_rn(x3, p, __fmaf_rn(-0.5f, x2, x));
  const float ln = __fmaf_rn(__int2float_rn(exponent), __uint_as_float(0x3F317218), log1);
  const float r = __fsqrt_rn(__fmul_rn(-2.0f, ln));

  const int32_t odd = 2 * static_cast<int32_t>((b >> 6) & 0xFFFFFFu) + 1 - (1 << 24);
  const float v = __fmul_rn(__int2float_rn(odd), 0x1p-25f);
  const float t = __fmul_rn(v, v);
  float sine = __uint_as_float(0x3925E43E);
  sine = __fmaf_rn(sine, t, __uint_as_float(0xBB99654F));
  sine = __fmaf_rn(sine, t, __uint_as_float(0x3DA335DD));
  sine = __fmaf_rn(sine, t, __uint_as_float(0xBF255DE7));
  sine = __fmaf_rn(sine, t, __uint_as_float(0x3FC90FDB));
  sine = __fmul_rn(sine, v);
  float cosine = __uint_as_float(0x3A6DB268);
  cosine = __fmaf_rn(cosine, t, __uint_as_float(0xBCAAE5CC));
  cosine = __fmaf_rn(cosine, t, __uint_as_float(0x3E81E0F5));
  cosine = __fmaf_rn(cosine, t, __uint_as_float(0xBF9DE9E6));
  cosine = __fmaf_rn(cosine, t, 1.0f);
  // Quadrants 0 .. 3 in the two highest bits: (c, s), (-s, c), (-c, -s), (s, -c).
  const bool swap = b >> 30 & 1;
  const uint32_t left = __float_as_uint(swap ? sine : cosine) ^ ((b ^ b << 1) & 0x80000000u);
  const uint32_t right = __float_as_uint(swap ? cosine : sine) ^ (b & 0x80000000u);
  return {__fmul_rn(r, __uint_as_float(left)), __fmul_rn(r, __uint_as_float(right))};
}

// +1 or -1 for the lowest bit 0 or 1.
__device__ inline float SignOf(uint32_t bits) { return __uint_as_float(0x3F800000u | bits << 31); }

}  // namespace rivulet::direction_cuda
