#include "common/direction/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "common/direction/kernels.cc"
#include "hwy/foreach_target.h"  // compiles this file once per instruction set
//
#include "common/philox-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace rivulet::direction_kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Words = hn::RebindToUnsigned<Floats>;
using FloatVector = hn::Vec<Floats>;
using WordVector = hn::Vec<Words>;

HWY_INLINE void WordsOfBlock(const RandomStream& stream, uint32_t tensor, uint64_t block,
                             uint32_t* out) {
  const PhiloxBlock words = stream.Block(block, tensor);
  std::memcpy(out, words.word, sizeof(words.word));
}

void FillWordsAll(const RandomStream& stream, uint32_t tensor, uint64_t first_block,
                  std::span<uint32_t> out) {
  uint64_t block = first_block;
  const uint64_t end = first_block + out.size() / 4;
  uint32_t* to = out.data();
#if HWY_TARGET != HWY_SCALAR
  const Words d;
  const uint64_t lanes = hn::Lanes(d);
  HWY_ALIGN uint32_t part[64];
  while (block < end && !rivulet::HWY_NAMESPACE::PhiloxCarries(block)) {
    WordVector c0, c1, c2, c3;
    rivulet::HWY_NAMESPACE::PhiloxVector(stream.key(), stream.lane(), tensor, block, c0, c1, c2,
                                         c3);
    const uint64_t count = std::min(lanes, end - block);
    if (count == lanes) {
      hn::StoreInterleaved4(c0, c1, c2, c3, d, to);
    } else {
      hn::StoreInterleaved4(c0, c1, c2, c3, d, part);
      std::memcpy(to, part, 4 * count * sizeof(uint32_t));
    }
    to += 4 * count;
    block += count;
  }
#endif
  for (; block < end; ++block, to += 4) WordsOfBlock(stream, tensor, block, to);
}

#if HWY_NATIVE_FMA && HWY_TARGET != HWY_SCALAR
HWY_INLINE FloatVector Constant(uint32_t bits) {
  const Words d;
  const Floats f;
  return hn::BitCast(f, hn::Set(d, bits));
}

// log(k / 2^24) and the like as in common/random.cc: the same operations in the same order.
HWY_INLINE void GaussPairs(WordVector a, WordVector b, FloatVector& first, FloatVector& second) {
  const Words d;
  const Floats f;
  const hn::RebindToSigned<Words> i;
  const auto one_bits = hn::Set(d, 0x3F800000u);
  const auto sign = hn::Set(d, 0x80000000u);

  const auto k = hn::Add(hn::ShiftRight<8>(a), hn::Set(d, 1u));
  const auto bits = hn::BitCast(d, hn::ConvertTo(f, hn::BitCast(i, k)));
  auto exponent = hn::BitCast(i, hn::Sub(hn::ShiftRight<23>(bits), hn::Set(d, 127u + 24u)));
  const auto mantissa = hn::Or(hn::And(bits, hn::Set(d, 0x7FFFFFu)), one_bits);
  const auto large = hn::Gt(hn::BitCast(i, mantissa), hn::Set(i, 0x3FB504F2));
  auto u = hn::BitCast(f, mantissa);
  u = hn::IfThenElse(hn::RebindMask(f, large), hn::Mul(u, hn::Set(f, 0.5f)), u);
  exponent = hn::IfThenElse(large, hn::Add(exponent, hn::Set(i, 1)), exponent);
  const auto x = hn::Sub(u, hn::Set(f, 1.0f));
  auto p = Constant(0xBDA24D7F);
  for (uint32_t term : {0x3E0310E9u, 0xBE05CD8Cu, 0x3E115118u, 0xBE2A505Du, 0x3E4CD1EAu,
                        0xBE8000BFu, 0x3EAAAAA6u}) {
    p = hn::MulAdd(p, x, Constant(term));
  }
  const auto x2 = hn::Mul(x, x);
  const auto x3 = hn::Mul(x2, x);
  const auto log1 = hn::MulAdd(x3, p, hn::MulAdd(hn::Set(f, -0.5f), x2, x));
  const auto ln = hn::MulAdd(hn::ConvertTo(f, exponent), Constant(0x3F317218), log1);
  const auto r = hn::Sqrt(hn::Mul(hn::Set(f, -2.0f), ln));

  const auto angle = hn::And(hn::ShiftRight<6>(b), hn::Set(d, 0xFFFFFFu));
  const auto odd =
      hn::Sub(hn::Add(hn::BitCast(i, hn::Add(angle, angle)), hn::Set(i, 1)), hn::Set(i, 1 << 24));
  const auto v = hn::Mul(hn::ConvertTo(f, odd), hn::Set(f, 0x1p-25f));
  const auto t = hn::Mul(v, v);
  auto sine = Constant(0x3925E43E);
  for (uint32_t term : {0xBB99654Fu, 0x3DA335DDu, 0xBF255DE7u, 0x3FC90FDBu}) {
    sine = hn::MulAdd(sine, t, Constant(term));
  }
  sine = hn::Mul(sine, v);
  auto cosine = Constant(0x3A6DB268);
  for (uint32_t term : {0xBCAAE5CCu, 0x3E81E0F5u, 0xBF9DE9E6u}) {
    cosine = hn::MulAdd(cosine, t, Constant(term));
  }
  cosine = hn::MulAdd(cosine, t, hn::Set(f, 1.0f));
  // Quadrants 0 .. 3 in the two highest bits: (c, s), (-s, c), (-c, -s), (s, -c).
  const auto swap = hn::RebindMask(f, hn::TestBit(b, hn::Set(d, 1u << 30)));
  const auto left = hn::IfThenElse(swap, sine, cosine);
  const auto right = hn::IfThenElse(swap, cosine, sine);
  const auto left_sign = hn::And(hn::Xor(b, hn::ShiftLeft<1>(b)), sign);
  first = hn::Mul(r, hn::BitCast(f, hn::Xor(hn::BitCast(d, left), left_sign)));
  second = hn::Mul(r, hn::BitCast(f, hn::Xor(hn::BitCast(d, right), hn::And(b, sign))));
}
#endif

// Words first and then values, in pieces that stay in the first cache.
void FillGaussAll(const RandomStream& stream, uint32_t tensor, uint64_t first_block,
                  std::span<float> out) {
#if HWY_NATIVE_FMA && HWY_TARGET != HWY_SCALAR
  const Words d;
  const Floats f;
  const size_t step = 4 * hn::Lanes(f);
  HWY_ALIGN uint32_t words[512] = {};
  HWY_ALIGN float part[64];
  while (!out.empty()) {
    const size_t count = std::min(std::size(words), out.size());
    FillWordsAll(stream, tensor, first_block, {words, (count + 3) / 4 * 4});
    for (size_t at = 0; at < count; at += step) {
      WordVector a, b, c, e;
      hn::LoadInterleaved4(d, words + at, a, b, c, e);
      FloatVector v0, v1, v2, v3;
      GaussPairs(a, b, v0, v1);
      GaussPairs(c, e, v2, v3);
      if (at + step <= count) {
        hn::StoreInterleaved4(v0, v1, v2, v3, f, out.data() + at);
      } else {
        hn::StoreInterleaved4(v0, v1, v2, v3, f, part);
        std::memcpy(out.data() + at, part, (count - at) * sizeof(float));
      }
    }
    first_block += count / 4;
    out = out.subspan(count);
  }
#else
  // The fused multiply-add of the C library: the same bits.
  stream.FillGauss(tensor, out, first_block);
#endif
}

HWY_INLINE uint32_t BitsFrom(const uint32_t* words, uint64_t bit) {
  const uint64_t pair = words[bit / 32] | uint64_t{words[bit / 32 + 1]} << 32;
  return static_cast<uint32_t>(pair >> (bit % 32));
}

// 32 signs at a time and then the rest one by one.
template <bool kAdd>
HWY_INLINE void Signs(const uint32_t* words, uint64_t bit, bool flip, std::span<float> out) {
  const uint32_t flips = flip ? ~0u : 0u;
  size_t at = 0;
#if HWY_TARGET != HWY_SCALAR
  const Floats f;
  const Words d;
  const size_t lanes = hn::Lanes(f);
  const auto one = hn::Set(d, 0x3F800000u), sign = hn::Set(d, 0x80000000u);
  // Of 32 bits, that of lane l of vector v goes to the sign.
  WordVector shifts[8];
  for (size_t v = 0; v < 32 / lanes; ++v) {
    shifts[v] = hn::Sub(hn::Set(d, static_cast<uint32_t>(31 - v * lanes)), hn::Iota(d, 0u));
  }
  for (; at + 32 <= out.size(); at += 32) {
    const auto bits = hn::Set(d, BitsFrom(words, bit + at) ^ flips);
    for (size_t v = 0; v < 32 / lanes; ++v) {
      const auto value = hn::BitCast(f, hn::Or(hn::And(hn::Shl(bits, shifts[v]), sign), one));
      float* const to = out.data() + at + v * lanes;
      hn::StoreU(kAdd ? hn::Add(hn::LoadU(f, to), value) : value, f, to);
    }
  }
#endif
  for (; at < out.size(); ++at) {
    const float value = (BitsFrom(words, bit + at) ^ flips) & 1 ? -1.0f : 1.0f;
    out[at] = kAdd ? out[at] + value : value;
  }
}

void FillSignsAll(const uint32_t* words, uint64_t bit, bool flip, std::span<float> out) {
  Signs<false>(words, bit, flip, out);
}
void AddSignsAll(const uint32_t* words, uint64_t bit, bool flip, std::span<float> out) {
  Signs<true>(words, bit, flip, out);
}

void AddScaledAll(float scale, std::span<const float> z, const float* base, float* w) {
  size_t at = 0;
#if HWY_NATIVE_FMA && HWY_TARGET != HWY_SCALAR
  const Floats f;
  const size_t lanes = hn::Lanes(f);
  const auto factor = hn::Set(f, scale);
  for (; at + lanes <= z.size(); at += lanes) {
    hn::StoreU(hn::MulAdd(factor, hn::LoadU(f, z.data() + at), hn::LoadU(f, base + at)), f, w + at);
  }
#endif
  for (; at < z.size(); ++at) w[at] = std::fma(scale, z[at], base[at]);
}

// To nearest even. A NaN that came from bfloat16 stays one: its lower half is zero.
HWY_INLINE uint16_t RoundToBf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1)) >> 16);
}

void AddScaledBf16All(float scale, std::span<const float> z, uint16_t* w) {
  size_t at = 0;
#if HWY_NATIVE_FMA && HWY_TARGET != HWY_SCALAR
  const Floats f;
  const Words d;
  const hn::Rebind<uint16_t, Words> half;
  const size_t lanes = hn::Lanes(f);
  const auto factor = hn::Set(f, scale);
  const auto below = hn::Set(d, 0x7FFFu), one = hn::Set(d, 1u);
  for (; at + lanes <= z.size(); at += lanes) {
    const auto wide = hn::BitCast(f, hn::ShiftLeft<16>(hn::PromoteTo(d, hn::LoadU(half, w + at))));
    const auto bits = hn::BitCast(d, hn::MulAdd(factor, hn::LoadU(f, z.data() + at), wide));
    const auto even = hn::And(hn::ShiftRight<16>(bits), one);
    const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(below, even)));
    hn::StoreU(hn::DemoteTo(half, hn::BitCast(hn::RebindToSigned<Words>(), rounded)), half, w + at);
  }
#endif
  for (; at < z.size(); ++at) {
    const float wide = std::bit_cast<float>(uint32_t{w[at]} << 16);
    w[at] = RoundToBf16(std::fma(scale, z[at], wide));
  }
}

void AddProductsAll(std::span<const float> z, const float* g, double* sums) {
  size_t at = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<double, 8> d;
  const hn::Rebind<float, decltype(d)> f;
  const size_t lanes = hn::Lanes(d);
  for (; at + kDotSums <= z.size(); at += kDotSums) {
    for (size_t from = 0; from < kDotSums; from += lanes) {
      const auto left = hn::PromoteTo(d, hn::LoadU(f, z.data() + at + from));
      const auto right = hn::PromoteTo(d, hn::LoadU(f, g + at + from));
      hn::StoreU(hn::Add(hn::Mul(left, right), hn::LoadU(d, sums + from)), d, sums + from);
    }
  }
#endif
  for (; at < z.size(); ++at) sums[at % kDotSums] += double{z[at]} * double{g[at]};
}

}  // namespace rivulet::direction_kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rivulet::direction_kernels {
HWY_EXPORT(FillWordsAll);
HWY_EXPORT(FillGaussAll);
HWY_EXPORT(FillSignsAll);
HWY_EXPORT(AddSignsAll);
HWY_EXPORT(AddScaledAll);
HWY_EXPORT(AddScaledBf16All);
HWY_EXPORT(AddProductsAll);

void FillWords(const RandomStream& stream, uint32_t tensor, uint64_t first_block,
               std::span<uint32_t> out) {
  HWY_DYNAMIC_DISPATCH(FillWordsAll)(stream, tensor, first_block, out);
}
void FillGauss(const RandomStream& stream, uint32_t tensor, uint64_t first_block,
               std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(FillGaussAll)(stream, tensor, first_block, out);
}
void FillSigns(const uint32_t* words, uint64_t bit, bool flip, std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(FillSignsAll)(words, bit, flip, out);
}
void AddSigns(const uint32_t* words, uint64_t bit, bool flip, std::span<float> out) {
  HWY_DYNAMIC_DISPATCH(AddSignsAll)(words, bit, flip, out);
}
void AddScaled(float scale, std::span<const float> z, const float* base, float* w) {
  HWY_DYNAMIC_DISPATCH(AddScaledAll)(scale, z, base, w);
}
void AddScaled(float scale, std::span<const float> z, uint16_t* w) {
  HWY_DYNAMIC_DISPATCH(AddScaledBf16All)(scale, z, w);
}
void AddProducts(std::span<const float> z, const float* g, double* sums) {
  HWY_DYNAMIC_DISPATCH(AddProductsAll)(z, g, sums);
}

double DotSums::Total() const {
  double halves[kDotSums];
  std::copy_n(sums, kDotSums, halves);
  for (size_t half = kDotSums / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) halves[i] += halves[i + half];
  }
  return halves[0];
}

}  // namespace rivulet::direction_kernels
#endif
