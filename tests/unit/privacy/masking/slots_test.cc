#include "privacy/masking/slots.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
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

// ceil(log2(2n + 1)) bits a slot; all for, all against, and the last element is not full.
TEST(SlotLayout, VotesOfNHaveSlotsForTheirSums) {
  struct Votes {
    uint32_t voters;
    int bits;
    size_t slots;
  };
  for (const auto [voters, bits, slots] : {Votes{3, 3, 19},
                                           {4, 4, 15},
                                           {5, 4, 14},
                                           {8, 5, 12},
                                           {15, 5, 11},
                                           {100, 8, 7},
                                           {5000, 14, 4}}) {
    EXPECT_EQ(bits, std::ceil(std::log2(2.0 * voters + 1))) << voters;
    const SlotLayout layout = SlotLayout::OfVotes(voters);
    ASSERT_EQ(layout.slots(), slots) << voters;
    EXPECT_EQ(layout.element_bits(), 2 + bits * static_cast<int>(slots - 1)) << voters;
    const int ring = layout.element_bits() + 2 + std::bit_width(voters - 1);  // section 8.3
    ASSERT_LE(ring, secagg::kMaxBits) << voters;
    const size_t count = 3 * slots + 1;
    std::vector<int64_t> votes(count), read(count), want(count);
    for (size_t i = 0; i < count; ++i) {
      votes[i] = static_cast<int64_t>(i % 3) - 1;
      want[i] = voters * votes[i];
    }
    secagg::RingVector one(static_cast<uint8_t>(ring), layout.ElementsFor(count));
    secagg::RingVector sum = one;
    layout.Write(votes, one);
    for (uint32_t voter = 0; voter < voters; ++voter) sum.Add(one);
    layout.Read(sum, read);
    EXPECT_EQ(read, want) << voters;
  }
}

TEST(SlotLayout, OfSignsTakesTheFewestBitsThatHoldAllSums) {
  struct Signs {
    uint64_t clients;
    size_t slots;
    int element_bits;
  };
  for (const auto [clients, slots, element_bits] : {Signs{3, 29, 58},
                                                    {4, 25, 58},
                                                    {5, 22, 56},
                                                    {7, 19, 56},
                                                    {8, 18, 56},
                                                    {100, 8, 48},
                                                    {5000, 4, 38}}) {
    const SlotLayout layout = SlotLayout::OfSigns(clients);
    EXPECT_EQ(layout.slots(), slots) << clients;
    EXPECT_EQ(layout.element_bits(), element_bits) << clients;
    const int ring = layout.element_bits() + 2 + std::bit_width(clients - 1);  // section 8.3
    ASSERT_LE(ring, secagg::kMaxBits) << clients;
    const size_t count = 3 * slots + 1;
    std::vector<int64_t> read(count), want(count), signs(count);
    secagg::RingVector sum(static_cast<uint8_t>(ring), layout.ElementsFor(count)), one = sum;
    for (uint64_t client = 0; client < clients; ++client) {  // the first: all ones, all zeros
      for (size_t i = 0; i < count; ++i) {
        signs[i] = i == 0 ? 1 : i == 1 ? 0 : static_cast<int64_t>((client * 7 + i * 5) % 3 != 0);
        want[i] += signs[i];
      }
      layout.Write(signs, one);
      sum.Add(one);
    }
    layout.Read(sum, read);
    EXPECT_EQ(read, want) << clients;
    EXPECT_EQ(read[0], static_cast<int64_t>(clients));
    for (const uint64_t sent : {~uint64_t{0}, (uint64_t{1} << (ring - 1)) - 1}) {  // no such sums
      sum.Set(0, sent);
      layout.Read(sum, read);
      for (const int64_t value : read) {
        EXPECT_GE(value, 0) << clients;
        EXPECT_LE(value, static_cast<int64_t>(clients));
      }
    }
  }
}

TEST(SlotLayout, SingleIsOneValueInAnElement) {
  const SlotLayout layout = SlotLayout::Single(20);
  EXPECT_EQ(layout.slots(), 1u);
  EXPECT_EQ(layout.element_bits(), 20);
  EXPECT_EQ(layout.ElementsFor(5), 5u);
}

}  // namespace
}  // namespace rivulet
