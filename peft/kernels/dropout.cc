#include "peft/kernels/dropout.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "peft/kernels/dropout.cc"
#include "hwy/foreach_target.h"  // compiles this file once per instruction set
//
#include "common/philox-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace rivulet::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Elements first .. first + n - 1 with Philox one block at a time; first % 4 == 0.
void DropBlocks(const DropoutMask& mask, int64_t first, const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; i += 4) {
    const uint64_t at = static_cast<uint64_t>(first + i) >> 2;
    const PhiloxBlock block = Philox(
        {{static_cast<uint32_t>(at), static_cast<uint32_t>(at >> 32), mask.tensor, mask.lane}},
        mask.key);
    for (int64_t j = i; j < std::min(n, i + 4); ++j) {
      y[j] = (block.word[j - i] >> 8) < mask.threshold ? 0.0f : x[j] * mask.factor;
    }
  }
}

#if HWY_TARGET != HWY_SCALAR
// 4 * lanes elements: a block a lane.
HWY_INLINE void DropVector(const DropoutMask& mask, uint64_t block, const float* x, float* y) {
  using rivulet::HWY_NAMESPACE::PhiloxLanes;
  const rivulet::HWY_NAMESPACE::PhiloxTag d;
  const hn::RebindToFloat<rivulet::HWY_NAMESPACE::PhiloxTag> f;
  PhiloxLanes c0, c1, c2, c3;
  rivulet::HWY_NAMESPACE::PhiloxVector(mask.key, mask.lane, mask.tensor, block, c0, c1, c2, c3);
  const auto factor = hn::Set(f, mask.factor);
  const PhiloxLanes threshold = hn::Set(d, mask.threshold);
  const auto keep = [&](PhiloxLanes word) HWY_ATTR {
    const auto dropped = hn::Lt(hn::ShiftRight<8>(word), threshold);
    return hn::BitCast(f, hn::IfThenZeroElse(dropped, hn::BitCast(d, factor)));
  };
  HWY_ALIGN float factors[64];
  hn::StoreInterleaved4(keep(c0), keep(c1), keep(c2), keep(c3), f, factors);
  const int64_t lanes = hn::Lanes(f);
  for (int64_t i = 0; i < 4 * lanes; i += lanes) {
    hn::StoreU(hn::Mul(hn::LoadU(f, x + i), hn::Load(f, factors + i)), f, y + i);
  }
}
#endif

void DropAll(const DropoutMask& mask, int64_t first, const float* x, float* y, int64_t n) {
#if HWY_TARGET == HWY_SCALAR
  DropBlocks(mask, first, x, y, n);
#else
  const int64_t step = 4 * hn::Lanes(rivulet::HWY_NAMESPACE::PhiloxTag());
  for (int64_t i = 0; i < n; i += step) {
    const uint64_t block = static_cast<uint64_t>(first + i) / 4;
    const int64_t count = std::min(step, n - i);
    if (rivulet::HWY_NAMESPACE::PhiloxCarries(block)) {
      DropBlocks(mask, first + i, x + i, y + i, count);
    } else if (count == step) {
      DropVector(mask, block, x + i, y + i);
    } else {
      float last[64] = {};
      std::memcpy(last, x + i, count * sizeof(float));
      DropVector(mask, block, last, last);
      std::memcpy(y + i, last, count * sizeof(float));
    }
  }
#endif
}

}  // namespace rivulet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rivulet::kernels {
HWY_EXPORT(DropAll);

DropoutMask DropoutMaskOf(const RandomStream& stream, uint32_t tensor, double rate) {
  return {stream.key(), stream.lane(), tensor, static_cast<uint32_t>(rate * 0x1p24),
          static_cast<float>(1.0 / (1.0 - rate))};
}

void Dropout(const DropoutMask& mask, int64_t first, const float* x, float* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(DropAll)(mask, first, x, y, n);
}

}  // namespace rivulet::kernels
#endif
