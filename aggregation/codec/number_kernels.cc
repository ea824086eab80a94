#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "aggregation/codec/kernels.h"
#include "common/formats/float_cast.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "aggregation/codec/number_kernels.cc"
#include "hwy/foreach_target.h"  // compiles this file once per instruction set
//
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace rivulet::codec_kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Plain loops below are left to the compiler, which vectorises them for the instruction set.

using Floats = hn::CappedTag<float, 8>;

void AddAll(float* __restrict sum, const float* __restrict x, size_t n) {
  for (size_t at = 0; at < n; ++at) sum[at] += x[at];
}
void SubtractAll(float* __restrict sum, const float* __restrict x, size_t n) {
  for (size_t at = 0; at < n; ++at) sum[at] -= x[at];
}
void AddScaledAll(float* __restrict sum, const float* __restrict x, float factor, size_t n) {
  for (size_t at = 0; at < n; ++at) sum[at] += factor * x[at];
}

// Sums of up to 1024 numbers in binary32 lanes, these in binary64.
template <typename Term>
HWY_INLINE double SumLanes(size_t n, Term term) {
  double sum = 0;
  for (size_t from = 0; from < n; from += 1024) {
    const size_t end = std::min(n, from + 1024);
    float lanes[32] = {};
    size_t at = from;
    for (; at + 32 <= end; at += 32) {
      for (size_t lane = 0; lane < 32; ++lane) lanes[lane] += term(at + lane);
    }
    for (; at < end; ++at) lanes[0] += term(at);
    for (const float lane : lanes) sum += static_cast<double>(lane);
  }
  return sum;
}

double SumOfMagnitudesAll(const float* x, size_t n) {
  return SumLanes(n, [x](size_t at) HWY_ATTR { return std::fabs(x[at]); });
}
double SumOfSquaresAll(const float* x, size_t n) {
  return SumLanes(n, [x](size_t at) HWY_ATTR { return x[at] * x[at]; });
}
float DotAll(const float* a, const float* b, size_t n) {
  return static_cast<float>(SumLanes(n, [a, b](size_t at) HWY_ATTR { return a[at] * b[at]; }));
}

uint32_t LargestBits(const float* x, size_t n) {
  uint32_t largest = 0;
  for (size_t at = 0; at < n; ++at) {
    largest = std::max(largest, std::bit_cast<uint32_t>(x[at]) & 0x7FFFFFFFu);
  }
  return largest;
}
float LargestMagnitudeAll(const float* x, size_t n) {
  return std::bit_cast<float>(LargestBits(x, n));
}

void PackSignsAll(const float* x, size_t n, uint8_t* bits) {
  size_t at = 0;
#if HWY_TARGET <= HWY_AVX2
  const Floats d;
  for (; at + 8 <= n; at += 8) {
    hn::StoreMaskBits(d, hn::Lt(hn::LoadU(d, x + at), hn::Zero(d)), bits + at / 8);
  }
#endif
  for (; at < n; at += 8) {
    uint8_t byte = 0;
    for (size_t lane = 0; lane < 8 && at + lane < n; ++lane) {
      byte |= static_cast<uint8_t>((x[at + lane] < 0 ? 1 : 0) << lane);
    }
    bits[at / 8] = byte;
  }
}

void UnpackSignsAll(const uint8_t* bits, size_t n, float scale, float* out) {
  const uint32_t magnitude = std::bit_cast<uint32_t>(scale);
  size_t at = 0;
  for (; at + 32 <= n; at += 32) {
    uint32_t word;
    std::memcpy(&word, bits + at / 8, 4);
    for (uint32_t lane = 0; lane < 32; ++lane) {
      out[at + lane] = std::bit_cast<float>(magnitude | ((word >> lane) & 1) << 31);
    }
  }
  for (; at < n; ++at) {
    const uint32_t sign = (bits[at / 8] >> (at % 8)) & 1;
    out[at] = std::bit_cast<float>(magnitude | sign << 31);
  }
}

size_t IndicesAtLeastAll(const float* x, size_t n, uint32_t threshold, uint32_t base,
                         uint32_t* indices, size_t room) {
  size_t found = 0;
  const auto take = [&](size_t from, size_t end) HWY_ATTR {
    for (size_t at = from; at < end; ++at) {
      if ((std::bit_cast<uint32_t>(x[at]) & 0x7FFFFFFFu) < threshold) continue;
      if (found < room) indices[found] = base + static_cast<uint32_t>(at);
      ++found;
    }
  };
  size_t at = 0;
#if HWY_TARGET != HWY_SCALAR
  // Four vectors at a time: most of them hold none.
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const auto least = hn::Set(di, static_cast<int32_t>(threshold));
  const size_t lanes = hn::Lanes(d);
  const auto load = [&](size_t from)
                        HWY_ATTR { return hn::BitCast(di, hn::Abs(hn::LoadU(d, x + from))); };
  for (; at + 4 * lanes <= n; at += 4 * lanes) {
    const auto low = hn::Max(load(at), load(at + lanes));
    const auto high = hn::Max(load(at + 2 * lanes), load(at + 3 * lanes));
    if (!hn::AllTrue(di, hn::Lt(hn::Max(low, high), least))) take(at, at + 4 * lanes);
  }
#endif
  take(at, n);
  return found;
}

void ToBF16All(const float* x, size_t n, uint16_t* out) {
  for (size_t at = 0; at < n; ++at) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[at]);
    out[at] = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
}

void ToF16All(const float* x, size_t n, uint16_t* out) {
  size_t at = 0;
#if HWY_TARGET != HWY_SCALAR
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<uint16_t, Floats> d16;
  const auto bias = hn::Set(di, 0xfff - 0x38000000), one = hn::Set(di, 1);
  const auto half = hn::Set(di, 0x3f000000), normal_from = hn::Set(di, 0x38800000);
  for (; at + hn::Lanes(d) <= n; at += hn::Lanes(d)) {
    const auto value = hn::LoadU(d, x + at);
    const auto magnitude = hn::BitCast(di, hn::Abs(value));
    const auto odd = hn::And(hn::ShiftRight<13>(magnitude), one);
    const auto normal = hn::ShiftRight<13>(hn::Add(hn::Add(magnitude, bias), odd));
    // Below 2^-14: adding 1/2 leaves multiples of 2^-24.
    const auto small =
        hn::Sub(hn::BitCast(di, hn::Add(hn::Abs(value), hn::BitCast(d, half))), half);
    const auto bits = hn::IfThenElse(hn::Lt(magnitude, normal_from), small, normal);
    const auto sign = hn::ShiftLeft<15>(hn::And(hn::ShiftRight<31>(hn::BitCast(di, value)), one));
    hn::StoreU(hn::DemoteTo(d16, hn::Or(bits, sign)), d16, out + at);
  }
#endif
  for (; at < n; ++at) out[at] = F16OfFloat(x[at]);
}

bool FromBF16All(const uint16_t* x, size_t n, float* out) {
  uint32_t bad = 0;
  for (size_t at = 0; at < n; ++at) {
    const uint32_t bits = static_cast<uint32_t>(x[at]) << 16;
    bad |= (bits & 0x7f800000) == 0x7f800000 ? 1 : 0;
    out[at] = std::bit_cast<float>(bits);
  }
  return bad == 0;
}

bool FromF16All(const uint16_t* x, size_t n, float* out) {
  size_t at = 0;
  bool finite = true;
#if HWY_TARGET != HWY_SCALAR
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::Rebind<uint16_t, Floats> d16;
  const auto mask = hn::Set(di, 0x7fff), bias = hn::Set(di, 0x38000000);
  const auto normal_from = hn::Set(di, 0x400);
  const auto unit = hn::Set(d, 0x1p-24f);
  auto largest = hn::Zero(di);
  for (; at + hn::Lanes(d) <= n; at += hn::Lanes(d)) {
    const auto half = hn::PromoteTo(di, hn::LoadU(d16, x + at));
    const auto magnitude = hn::And(half, mask);
    largest = hn::Max(largest, magnitude);
    const auto normal = hn::Add(hn::ShiftLeft<13>(magnitude), bias);
    const auto small = hn::BitCast(di, hn::Mul(hn::ConvertTo(d, magnitude), unit));
    const auto bits = hn::IfThenElse(hn::Lt(magnitude, normal_from), small, normal);
    const auto sign = hn::ShiftLeft<16>(hn::AndNot(mask, half));
    hn::StoreU(hn::BitCast(d, hn::Or(bits, sign)), d, out + at);
  }
  finite = hn::AllTrue(di, hn::Lt(largest, hn::Set(di, 0x7c00)));
#endif
  for (; at < n; ++at) {
    finite = finite && (x[at] & 0x7c00) != 0x7c00;
    out[at] = FloatOfF16(x[at]);
  }
  return finite;
}

// Orders a[i] <= b[i].
void OrderAll(float* __restrict a, float* __restrict b, size_t n) {
  for (size_t at = 0; at < n; ++at) {
    const float low = b[at] < a[at] ? b[at] : a[at];
    const float high = b[at] < a[at] ? a[at] : b[at];
    a[at] = low;
    b[at] = high;
  }
}

}  // namespace rivulet::codec_kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rivulet::codec_kernels {

HWY_EXPORT(AddAll);
HWY_EXPORT(SubtractAll);
HWY_EXPORT(AddScaledAll);
HWY_EXPORT(SumOfMagnitudesAll);
HWY_EXPORT(SumOfSquaresAll);
HWY_EXPORT(DotAll);
HWY_EXPORT(LargestMagnitudeAll);
HWY_EXPORT(PackSignsAll);
HWY_EXPORT(UnpackSignsAll);
HWY_EXPORT(IndicesAtLeastAll);
HWY_EXPORT(ToBF16All);
HWY_EXPORT(ToF16All);
HWY_EXPORT(FromBF16All);
HWY_EXPORT(FromF16All);
HWY_EXPORT(OrderAll);

void Add(float* sum, const float* x, size_t n) { HWY_DYNAMIC_DISPATCH(AddAll)(sum, x, n); }
void Subtract(float* sum, const float* x, size_t n) {
  HWY_DYNAMIC_DISPATCH(SubtractAll)(sum, x, n);
}
void AddScaled(float* sum, const float* x, float factor, size_t n) {
  HWY_DYNAMIC_DISPATCH(AddScaledAll)(sum, x, factor, n);
}
double SumOfMagnitudes(const float* x, size_t n) {
  return HWY_DYNAMIC_DISPATCH(SumOfMagnitudesAll)(x, n);
}
double SumOfSquares(const float* x, size_t n) {
  return HWY_DYNAMIC_DISPATCH(SumOfSquaresAll)(x, n);
}
float Dot(const float* a, const float* b, size_t n) {
  return HWY_DYNAMIC_DISPATCH(DotAll)(a, b, n);
}
float LargestMagnitude(const float* x, size_t n) {
  return HWY_DYNAMIC_DISPATCH(LargestMagnitudeAll)(x, n);
}
void PackSigns(const float* x, size_t n, uint8_t* bits) {
  HWY_DYNAMIC_DISPATCH(PackSignsAll)(x, n, bits);
}
void UnpackSigns(const uint8_t* bits, size_t n, float scale, float* out) {
  HWY_DYNAMIC_DISPATCH(UnpackSignsAll)(bits, n, scale, out);
}
size_t IndicesAtLeast(const float* x, size_t n, uint32_t threshold, uint32_t base,
                      uint32_t* indices, size_t room) {
  return HWY_DYNAMIC_DISPATCH(IndicesAtLeastAll)(x, n, threshold, base, indices, room);
}
void ToBF16(const float* x, size_t n, uint16_t* out) { HWY_DYNAMIC_DISPATCH(ToBF16All)(x, n, out); }
void ToF16(const float* x, size_t n, uint16_t* out) { HWY_DYNAMIC_DISPATCH(ToF16All)(x, n, out); }
bool FromBF16(const uint16_t* x, size_t n, float* out) {
  return HWY_DYNAMIC_DISPATCH(FromBF16All)(x, n, out);
}
bool FromF16(const uint16_t* x, size_t n, float* out) {
  return HWY_DYNAMIC_DISPATCH(FromF16All)(x, n, out);
}
void Order(float* a, float* b, size_t n) { HWY_DYNAMIC_DISPATCH(OrderAll)(a, b, n); }

}  // namespace rivulet::codec_kernels
#endif
