#include <cpuid.h>
#include <immintrin.h>

#include <cstring>

#include "privacy/secagg/shared/mask_kernel.h"

// Each loop is compiled for its own instruction set and chosen at run time. In all of them the
// counter blocks of a tile are made once for all keys, and eight vectors are in flight: AES
// instructions have a latency of 3 to 5 cycles and start two a cycle.
namespace rivulet::secagg {
namespace {

constexpr int kInFlight = 8;
constexpr int kRounds = 14;

#define RV_AESNI __attribute__((target("aes,sse4.1"), always_inline)) inline
#define RV_VAES256 __attribute__((target("aes,avx2,vaes"), always_inline)) inline
#define RV_VAES512 __attribute__((target("aes,avx512f,avx512bw,vaes"), always_inline)) inline
#define RV_EIGHT_TIMES _Pragma("GCC unroll 8")

RV_AESNI __m128i KeyOf(const RoundKeys& keys, int round) {
  return _mm_load_si128(reinterpret_cast<const __m128i*>(keys.bytes[round]));
}

// Chunk (already big endian) below, block number above; RV_SWAP makes the latter big endian too.
RV_AESNI __m128i CounterBase(const TileRun& run) {
  return _mm_set_epi64x(run.block, static_cast<long long>(__builtin_bswap64(run.chunk)));
}
RV_AESNI __m128i CounterBytes() {
  return _mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 7, 6, 5, 4, 3, 2, 1, 0);
}

// Same instruction as _mm512_broadcast_i32x4, which GCC 12 says reads something uninitialised.
RV_VAES512 __m512i AllLanes(__m128i lane) { return _mm512_maskz_broadcast_i32x4(0xFFFF, lane); }

template <int kWordBytes>
RV_AESNI __m128i AddWords(__m128i a, __m128i b) {
  if constexpr (kWordBytes == 2) return _mm_add_epi16(a, b);
  if constexpr (kWordBytes == 4) return _mm_add_epi32(a, b);
  if constexpr (kWordBytes == 8) return _mm_add_epi64(a, b);
}
template <int kWordBytes>
RV_VAES256 __m256i AddWords(__m256i a, __m256i b) {
  if constexpr (kWordBytes == 2) return _mm256_add_epi16(a, b);
  if constexpr (kWordBytes == 4) return _mm256_add_epi32(a, b);
  if constexpr (kWordBytes == 8) return _mm256_add_epi64(a, b);
}
template <int kWordBytes>
RV_VAES512 __m512i AddWords(__m512i a, __m512i b) {
  if constexpr (kWordBytes == 2) return _mm512_add_epi16(a, b);
  if constexpr (kWordBytes == 4) return _mm512_add_epi32(a, b);
  if constexpr (kWordBytes == 8) return _mm512_add_epi64(a, b);
}

// `value` in every word of 8 bytes.
template <int kWordBytes>
long long Repeated(uint64_t value) {
  if constexpr (kWordBytes == 2) value = (value & 0xFFFF) * 0x0001000100010001u;
  if constexpr (kWordBytes == 4) value = (value & 0xFFFFFFFF) * 0x0000000100000001u;
  return static_cast<long long>(value);
}

template <int kWordBytes>
__attribute__((target("aes,sse4.1"))) void AesNiLoop(const RoundKeyGroup& group,
                                                     const TileRun& run) {
  const __m128i ones = _mm_set1_epi64x(Repeated<kWordBytes>(group.ones));
  const __m128i swap = CounterBytes();
  __m128i block = CounterBase(run);
  uint8_t* words = run.words;
  for (size_t tile = 0; tile < run.tiles; ++tile, words += 16 * kInFlight) {
    __m128i counter[kInFlight], sum[kInFlight];
    for (int each = 0; each < kInFlight; ++each) {
      counter[each] = _mm_shuffle_epi8(block, swap);
      block = _mm_add_epi64(block, _mm_set_epi64x(1, 0));
      sum[each] = ones;
    }
    for (size_t key = 0; key < group.count; ++key) {
      const RoundKeys& keys = group.keys[key];
      __m128i state[kInFlight];
      RV_EIGHT_TIMES for (int each = 0; each < kInFlight; ++each) {
        state[each] = _mm_xor_si128(counter[each], KeyOf(keys, 0));
      }
      for (int round = 1; round < kRounds; ++round) {
        const __m128i round_key = KeyOf(keys, round);
        RV_EIGHT_TIMES for (int each = 0; each < kInFlight; ++each) {
          state[each] = _mm_aesenc_si128(state[each], round_key);
        }
      }
      const __m128i last = KeyOf(keys, kRounds);
      RV_EIGHT_TIMES for (int each = 0; each < kInFlight; ++each) {
        state[each] = _mm_aesenclast_si128(state[each], last);
        sum[each] = AddWords<kWordBytes>(sum[each], state[each]);
      }
    }
    for (int each = 0; each < kInFlight; ++each) {
      auto* at = reinterpret_cast<__m128i*>(words) + each;
      _mm_storeu_si128(at, AddWords<kWordBytes>(_mm_loadu_si128(at), sum[each]));
    }
  }
}

template <int kWordBytes>
__attribute__((target("aes,avx2,vaes"))) void Vaes256Loop(const RoundKeyGroup& group,
                                                          const TileRun& run) {
  const __m256i ones = _mm256_set1_epi64x(Repeated<kWordBytes>(group.ones));
  const __m256i swap = _mm256_broadcastsi128_si256(CounterBytes());
  __m256i block = _mm256_add_epi64(_mm256_broadcastsi128_si256(CounterBase(run)),
                                   _mm256_set_epi64x(1, 0, 0, 0));
  uint8_t* words = run.words;
  for (size_t tile = 0; tile < run.tiles; ++tile, words += 32 * kInFlight) {
    __m256i counter[kInFlight], sum[kInFlight];
    for (int each = 0; each < kInFlight; ++each) {
      counter[each] = _mm256_shuffle_epi8(block, swap);
      block = _mm256_add_epi64(block, _mm256_set_epi64x(2, 0, 2, 0));
      sum[each] = ones;
    }
    for (size_t key = 0; key < group.count; ++key) {
      const RoundKeys& keys = group.keys[key];
      __m256i state[kInFlight];
      const __m256i first = _mm256_broadcastsi128_si256(KeyOf(keys, 0));
      RV_EIGHT_TIMES for (int each = 0; each < kInFlight; ++each) {
        state[each] = _mm256_xor_si256(counter[each], first);
      }
      for (int round = 1; round < kRounds; ++round) {
        const __m256i round_key = _mm256_broadcastsi128_si256(KeyOf(keys, round));
        RV_EIGHT_TIMES for (int each = 0; each < kInFlight; ++each) {
          state[each] = _mm256_aesenc_epi128(state[each], round_key);
        }
      }
      const __m256i last = _mm256_broadcastsi128_si256(KeyOf(keys, kRounds));
      RV_EIGHT_TIMES for (int each = 0; each < kInFlight; ++each) {
        state[each] = _mm256_aesenclast_epi128(state[each], last);
        sum[each] = AddWords<kWordBytes>(sum[each], state[each]);
      }
    }
    for (int each = 0; each < kInFlight; ++each) {
      auto* at = reinterpret_cast<__m256i*>(words) + each;
      _mm256_storeu_si256(at, AddWords<kWordBytes>(_mm256_loadu_si256(at), sum[each]));
    }
  }
}

template <int kWordBytes>
__attribute__((target("aes,avx512f,avx512bw,vaes"))) void Vaes512Loop(const RoundKeyGroup& group,
                                                                      const TileRun& run) {
  const __m512i ones = _mm512_set1_epi64(Repeated<kWordBytes>(group.ones));
  const __m512i swap = AllLanes(CounterBytes());
  __m512i block =
      _mm512_add_epi64(AllLanes(CounterBase(run)), _mm512_set_epi64(3, 0, 2, 0, 1, 0, 0, 0));
  uint8_t* words = run.words;
  for (size_t tile = 0; tile < run.tiles; ++tile, words += 64 * kInFlight) {
    __m512i counter[kInFlight], sum[kInFlight];
    RV_EIGHT_TIMES for (int each = 0; each < kInFlight; ++each) {
      counter[each] = _mm512_shuffle_epi8(block, swap);
      block = _mm512_add_epi64(block, _mm512_set_epi64(4, 0, 4, 0, 4, 0, 4, 0));
      sum[each] = ones;
    }
    for (size_t key = 0; key < group.count; ++key) {
      const RoundKeys& keys = group.keys[key];
      __m512i state[kInFlight];
      const __m512i first = AllLanes(KeyOf(keys, 0));
      RV_EIGHT_TIMES for (int each = 0; each < kInFlight; ++each) {
        state[each] = _mm512_xor_si512(counter[each], first);
      }
      for (int round = 1; round < kRounds; ++round) {
        const __m512i round_key = AllLanes(KeyOf(keys, round));
        RV_EIGHT_TIMES for (int each = 0; each < kInFlight; ++each) {
          state[each] = _mm512_aesenc_epi128(state[each], round_key);
        }
      }
      const __m512i last = AllLanes(KeyOf(keys, kRounds));
      RV_EIGHT_TIMES for (int each = 0; each < kInFlight; ++each) {
        state[each] = _mm512_aesenclast_epi128(state[each], last);
        sum[each] = AddWords<kWordBytes>(sum[each], state[each]);
      }
    }
    RV_EIGHT_TIMES for (int each = 0; each < kInFlight; ++each) {
      auto* at = words + 64 * each;
      _mm512_storeu_si512(at, AddWords<kWordBytes>(_mm512_loadu_si512(at), sum[each]));
    }
  }
}

#define RV_BY_WORD(Loop)                                 \
  [](const RoundKeyGroup& group, const TileRun& run) {   \
    if (run.word_bytes == 2) return Loop<2>(group, run); \
    if (run.word_bytes == 4) return Loop<4>(group, run); \
    return Loop<8>(group, run);                          \
  }

// __builtin_cpu_supports knows this word in some compilers only. The wide registers are another
// question, asked there.
bool HasVaes() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ecx >> 9 & 1) != 0;
}

bool HasAesNi() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx >> 25 & 1) != 0 &&
         __builtin_cpu_supports("sse4.1");
}

// FIPS 197 section 5.2: w[i] = w[i - 8] ^ (w[i - 1] through the S-box, at every eighth word also
// rotated and with the round constant). `assist` holds that word in all four places.
RV_AESNI __m128i NextRoundKey(__m128i before, __m128i assist) {
  before = _mm_xor_si128(before, _mm_slli_si128(before, 4));
  before = _mm_xor_si128(before, _mm_slli_si128(before, 8));
  return _mm_xor_si128(before, assist);
}

template <int kRoundConstant>
RV_AESNI void NextPair(__m128i& even, __m128i& odd) {
  even =
      NextRoundKey(even, _mm_shuffle_epi32(_mm_aeskeygenassist_si128(odd, kRoundConstant), 0xFF));
  odd = NextRoundKey(odd, _mm_shuffle_epi32(_mm_aeskeygenassist_si128(even, 0), 0xAA));
}

__attribute__((target("aes,sse4.1"))) void ExpandWithAesNi(const uint8_t* seed, bool subtract,
                                                           RoundKeys& keys) {
  __m128i even = _mm_loadu_si128(reinterpret_cast<const __m128i*>(seed));
  __m128i odd = _mm_loadu_si128(reinterpret_cast<const __m128i*>(seed) + 1);
  auto* out = reinterpret_cast<__m128i*>(keys.bytes);
  out[0] = even, out[1] = odd;
  NextPair<0x01>(even, odd), out[2] = even, out[3] = odd;
  NextPair<0x02>(even, odd), out[4] = even, out[5] = odd;
  NextPair<0x04>(even, odd), out[6] = even, out[7] = odd;
  NextPair<0x08>(even, odd), out[8] = even, out[9] = odd;
  NextPair<0x10>(even, odd), out[10] = even, out[11] = odd;
  NextPair<0x20>(even, odd), out[12] = even, out[13] = odd;
  NextPair<0x40>(even, odd);
  out[14] = _mm_xor_si128(even, _mm_set1_epi32(-static_cast<int>(subtract)));
}

}  // namespace

TileKernel TileKernelFor(MaskKernel kernel) {
  if (!HasAesNi()) return {};
  switch (kernel) {
    case MaskKernel::kPortable:
      return {};
    case MaskKernel::kAesNi:
      return {RV_BY_WORD(AesNiLoop), 16 * kInFlight};
    case MaskKernel::kVaes256:
      if (!HasVaes() || !__builtin_cpu_supports("avx2")) return {};
      return {RV_BY_WORD(Vaes256Loop), 32 * kInFlight};
    case MaskKernel::kVaes512:
      if (!HasVaes() || !__builtin_cpu_supports("avx512bw")) return {};
      return {RV_BY_WORD(Vaes512Loop), 64 * kInFlight};
  }
  return {};
}

void ExpandRoundKeys(const Mask& mask, RoundKeys& keys) {
  ExpandWithAesNi(mask.seed.bytes().data(), mask.subtract, keys);
}

}  // namespace rivulet::secagg
