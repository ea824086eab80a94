#include "privacy/masking/slots.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <random>
#include <vector>

namespace rivulet {
namespace {

struct Case {
  int bits;
  uint32_t clients;
  uint32_t weight;
  size_t slots;      // in an element
  int element_bits;  // p
};

class Slots : public testing::TestWithParam<Case> {};

TEST_P(Slots, OfASumAreTheSumsOfTheValues) {
  const Case& the = GetParam();
  const SlotLayout layout(the.bits, uint64_t{the.clients} * the.weight);
  EXPECT_EQ(layout.slots(), the.slots);
  EXPECT_EQ(layout.element_bits(), the.element_bits);
  constexpr size_t kValues = 1009;  // the last element is not full
  const int64_t most = (int64_t{1} << (the.bits - 1)) - 1;
  const auto ring = static_cast<uint8_t>(  // section 8.3
      std::max<int>(secagg::kMinBits,
                    layout.element_bits() + 2 + std::bit_width(the.clients * the.weight - 1)));
  std::mt19937_64 random(7);
  secagg::RingVector sum(ring, layout.ElementsFor(kValues));
  std::vector<int64_t> expected(kValues), read(kValues);
  for (uint32_t client = 0; client < the.clients; ++client) {
    std::vector<int64_t> values(kValues);
    for (size_t i = 0; i < kValues; ++i) {  // the first ones at the bounds, all to one side
      const auto any = static_cast<int64_t>(random() % static_cast<uint64_t>(2 * most + 1)) - most;
      values[i] = the.weight * (i < 40 ? (i % 2 == 0 ? most : -most) : any);
      expected[i] += values[i];
    }
    secagg::RingVector vector(ring, layout.ElementsFor(kValues));
    layout.Write(values, vector);
    sum.Add(vector);
  }
  layout.Read(sum, read);
  EXPECT_EQ(read, expected);
}

INSTANTIATE_TEST_SUITE_P(Layouts, Slots,
                         testing::Values(Case{2, 8, 1, 12, 57}, Case{3, 4, 1, 12, 58},
                                         Case{8, 8, 1, 5, 52}, Case{8, 1000, 1, 3, 44},
                                         Case{16, 8, 1, 3, 54}, Case{16, 100, 255, 1, 16},
                                         Case{2, 2, 1, 20, 59}));

TEST(SlotLayout, SingleIsOneValueInAnElement) {
  const SlotLayout layout = SlotLayout::Single(20);
  EXPECT_EQ(layout.slots(), 1u);
  EXPECT_EQ(layout.element_bits(), 20);
  EXPECT_EQ(layout.ElementsFor(5), 5u);
}

}  // namespace
}  // namespace rivulet
