#include "aggregation/values_digest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
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

TEST(ValuesDigest, AddReturnsTheLargestMagnitude) {
  std::vector<float> values = Values();
  for (const float extreme : {-30.0f, 127.5f, -std::numeric_limits<float>::infinity()}) {
    values[3333] = extreme;
    ValuesDigest digest;
    EXPECT_EQ(digest.Add(100, values), std::bit_cast<uint32_t>(std::fabs(extreme)));
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

TEST(ParallelTensors, CoversEveryTensorOnceEmptyOnesAside) {
  for (const size_t grain : {size_t{1}, size_t{3}, size_t{1000}}) {
    const std::vector<size_t> sizes = {0, 5, 1, 0, 0, 200, 7, 0};
    std::vector<size_t> ends = {0};
    std::vector<std::vector<int>> visits;
    for (const size_t size : sizes) {
      ends.push_back(ends.back() + size);
      visits.emplace_back(size, 0);
    }
    ParallelTensors(ends, grain, [&](size_t tensor, size_t begin, size_t end) {
      for (size_t index = begin; index < end; ++index) ++visits.at(tensor).at(index);
    });
    for (size_t tensor = 0; tensor < sizes.size(); ++tensor) {
      EXPECT_EQ(visits[tensor], std::vector<int>(sizes[tensor], 1)) << tensor;
    }
  }
  ParallelTensors(std::vector<size_t>{0}, 1, [](size_t, size_t, size_t) { FAIL(); });
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
