#pragma once

#include <cstddef>
#include <cstring>

#include "privacy/secagg/shared/mask_kernel.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

// What no mask can be faster than, for the benchmarks of masking and of unmasking.
namespace rivulet::secagg {

// Rounds of AES-256 on vectors that stay in registers, keys from the first cache, nothing else:
// what no masking with these instructions can beat. Passes do not wait for each other.
inline constexpr size_t kLimitPasses = 1 << 18;
inline constexpr int kTogether = 8;

#if defined(__x86_64__)
#define RV_LIMIT(Name, Vector, targets, round)                                 \
  __attribute__((target(targets))) inline void Name() {                        \
    alignas(64) Vector keys[14];                                               \
    std::memset(keys, 0x5A, sizeof keys);                                      \
    for (size_t pass = 0; pass < kLimitPasses; ++pass) {                       \
      asm volatile("" : : "r"(keys) : "memory"); /* keys of another seed */    \
      Vector state[kTogether];                                                 \
      _Pragma("GCC unroll 8") for (int each = 0; each < kTogether; ++each) {   \
        state[each] = keys[0];                                                 \
        asm volatile("" : "+x"(state[each])); /* or it is one, not eight */    \
      }                                                                        \
      for (int at = 0; at < 14; ++at) {                                        \
        const Vector key = keys[at];                                           \
        _Pragma("GCC unroll 8") for (int each = 0; each < kTogether; ++each) { \
          state[each] = round(state[each], key);                               \
        }                                                                      \
      }                                                                        \
      _Pragma("GCC unroll 8") for (int each = 0; each < kTogether; ++each) {   \
        asm volatile("" : : "x"(state[each]));                                 \
      }                                                                        \
    }                                                                          \
  }

RV_LIMIT(LimitAesNi, __m128i, "aes,sse4.1", _mm_aesenc_si128)
RV_LIMIT(LimitVaes256, __m256i, "aes,avx2,vaes", _mm256_aesenc_epi128)
RV_LIMIT(LimitVaes512, __m512i, "aes,avx512f,avx512bw,vaes", _mm512_aesenc_epi128)

inline void RunLimit(MaskKernel kernel) {
  if (kernel == MaskKernel::kAesNi) LimitAesNi();
  if (kernel == MaskKernel::kVaes256) LimitVaes256();
  if (kernel == MaskKernel::kVaes512) LimitVaes512();
}
#else
inline void RunLimit(MaskKernel) {}
#endif

// Of one call of RunLimit.
inline double LimitBytes(MaskKernel kernel) {
  const double width = kernel == MaskKernel::kAesNi ? 16 : kernel == MaskKernel::kVaes256 ? 32 : 64;
  return static_cast<double>(kLimitPasses) * kTogether * width;
}

}  // namespace rivulet::secagg
