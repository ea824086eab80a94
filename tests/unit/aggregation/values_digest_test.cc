#include "aggregation/values_digest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <vector>

#include "aggregation/parallel.h"

namespace rivulet {
namespace {

std::vector<float> Values() {
  std::vector<float> values(5000);
  for (size_t index = 0; index < values.size(); ++index) {
    values[index] = static_cast<float>(index % 97) * 0.25f - 7;
  }
  return values;
}

ValuesDigest DigestOf(std::span<const float> values) {
  ValuesDigest digest;
  digest.Add(0, values);
  return digest;
}

TEST(ValuesDigest, IsTheSameForEveryCutAndOrder) {
  const std::vector<float> values = Values();
  const std::span<const float> all(values);
  for (const size_t cut : {size_t{1}, size_t{1023}, size_t{1024}, size_t{1025}, size_t{4999}}) {
    ValuesDigest front, back;
    back.Add(cut, all.subspan(cut));
    front.Add(0, all.first(cut));
    back.Merge(front);
    EXPECT_EQ(back, DigestOf(values)) << cut;
  }
}

TEST(ValuesDigest, AChangedValueAZeroedPageAndExchangedPagesChangeIt) {
  const std::vector<float> values = Values();
  std::vector<float> changed = values;
  changed[4321] = -changed[4321];
  EXPECT_FALSE(DigestOf(changed) == DigestOf(values));
  std::vector<float> zeroed = values;
  std::fill(zeroed.begin() + 1024, zeroed.begin() + 2048, 0.0f);
  EXPECT_FALSE(DigestOf(zeroed) == DigestOf(values));
  std::vector<float> exchanged = values;
  std::swap_ranges(exchanged.begin(), exchanged.begin() + 1024, exchanged.begin() + 2048);
  EXPECT_FALSE(DigestOf(exchanged) == DigestOf(values));
}

TEST(ParallelRanges, CoversEverythingOnce) {
  for (const size_t count : {size_t{0}, size_t{1}, size_t{7}, size_t{1000}}) {
    std::vector<int> visits(count, 0);
    ParallelRanges(count, 3, [&](size_t begin, size_t end) {
      for (size_t index = begin; index < end; ++index) ++visits[index];
    });
    EXPECT_EQ(visits, std::vector<int>(count, 1));
  }
}

TEST(ParallelRanges, WhatAnyOfThemThrowsIsThrownAndAllHaveReturned) {
  for (const bool first : {false, true}) {
    std::atomic<int> under_way = 0;
    const auto work = [&](size_t begin, size_t end) {
      ++under_way;
      const bool bad = first ? begin == 0 : end == 1000;
      --under_way;
      if (bad) throw std::bad_alloc();
    };
    EXPECT_THROW(ParallelRanges(1000, 1, work), std::bad_alloc);
    EXPECT_EQ(under_way, 0);
  }
}

}  // namespace
}  // namespace rivulet
