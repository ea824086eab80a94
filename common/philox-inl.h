// Included once per instruction set; see hwy/foreach_target.h.
#if defined(RIVULET_COMMON_PHILOX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RIVULET_COMMON_PHILOX_INL_H_
#undef RIVULET_COMMON_PHILOX_INL_H_
#else
#define RIVULET_COMMON_PHILOX_INL_H_
#endif

#include <cstdint>

#include "common/philox.h"
#include "hwy/highway.h"

// common/philox.h with a block in every lane.
HWY_BEFORE_NAMESPACE();
namespace rivulet::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR
using PhiloxTag = hn::CappedTag<uint32_t, 16>;
using PhiloxLanes = hn::Vec<PhiloxTag>;

// Whether lane counters from `block` on would carry into the upper word: take common/philox.h then.
HWY_INLINE bool PhiloxCarries(uint64_t block) {
  return (block & 0xFFFFFFFF) + hn::Lanes(PhiloxTag()) > uint64_t{1} << 32;
}

// Low and high halves of m * x, lane by lane.
HWY_INLINE void MulWide(PhiloxLanes m, PhiloxLanes x, PhiloxLanes& low, PhiloxLanes& high) {
  const PhiloxTag d;
  const hn::Repartition<uint64_t, PhiloxTag> wide;
  const auto even = hn::BitCast(d, hn::MulEven(m, x));
  const auto odd =
      hn::BitCast(d, hn::MulEven(m, hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(wide, x)))));
  low = hn::OddEven(hn::BitCast(d, hn::ShiftLeft<32>(hn::BitCast(wide, odd))), even);
  high = hn::OddEven(odd, hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(wide, even))));
}

// Lane l of c0 .. c3: the four words of block `block + l` of (key, lane, tensor). No carry.
HWY_INLINE void PhiloxVector(PhiloxKey key, uint32_t lane, uint32_t tensor, uint64_t block,
                             PhiloxLanes& c0, PhiloxLanes& c1, PhiloxLanes& c2, PhiloxLanes& c3) {
  const PhiloxTag d;
  c0 = hn::Iota(d, static_cast<uint32_t>(block));
  c1 = hn::Set(d, static_cast<uint32_t>(block >> 32));
  c2 = hn::Set(d, tensor);
  c3 = hn::Set(d, lane);
  const PhiloxLanes m0 = hn::Set(d, 0xD2511F53u), m1 = hn::Set(d, 0xCD9E8D57u);
  uint32_t k0 = key.word[0], k1 = key.word[1];
  for (int round = 0; round < 10; ++round) {
    PhiloxLanes low0, high0, low1, high1;
    MulWide(m0, c0, low0, high0);
    MulWide(m1, c2, low1, high1);
    c0 = hn::Xor(hn::Xor(high1, c1), hn::Set(d, k0));
    c2 = hn::Xor(hn::Xor(high0, c3), hn::Set(d, k1));
    c1 = low1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}
#endif

}  // namespace rivulet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
