#include "aggregation/robust/groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <numeric>

#include "common/random.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

std::array<uint8_t, 32> KeyOf(uint8_t first) {
  std::array<uint8_t, 32> key{};
  std::iota(key.begin(), key.end(), first);
  return key;
}

TEST(PartitionIntoGroups, EverybodyIsInOneGroupAndSizesDifferByAtMostOne) {
  for (const auto& [n, groups] :
       {std::pair(1u, 1u), {7u, 7u}, {11u, 2u}, {64u, 16u}, {103u, 12u}}) {
    const auto partition = PartitionIntoGroups(n, groups, KeyOf(1));
    ASSERT_TRUE(partition.ok());
    ASSERT_EQ(partition->size(), groups);
    std::vector<uint32_t> all;
    for (size_t group = 0; group < groups; ++group) {
      const auto& members = (*partition)[group];
      EXPECT_EQ(members.size(), n / groups + (group < n % groups ? 1 : 0));
      EXPECT_TRUE(std::is_sorted(members.begin(), members.end()));
      all.insert(all.end(), members.begin(), members.end());
    }
    std::sort(all.begin(), all.end());
    for (uint32_t client = 0; client < n; ++client) EXPECT_EQ(all[client], client);
  }
}

TEST(PartitionIntoGroups, IsTheKeysAlone) {
  EXPECT_EQ(*PartitionIntoGroups(64, 16, KeyOf(1)), *PartitionIntoGroups(64, 16, KeyOf(1)));
  EXPECT_NE(*PartitionIntoGroups(64, 16, KeyOf(1)), *PartitionIntoGroups(64, 16, KeyOf(2)));
}

// Computed by an independent implementation of the comment in groups.h (Python, hashlib).
TEST(PartitionIntoGroups, KnownAnswer) {
  const std::vector<std::vector<uint32_t>> want = {{0, 4, 5, 6}, {1, 8, 9}, {2, 3, 7}};
  EXPECT_EQ(*PartitionIntoGroups(10, 3, KeyOf(0)), want);
}

TEST(PartitionIntoGroups, NoGroupsOrMoreThanClientsAreRefused) {
  EXPECT_EQ(PartitionIntoGroups(5, 0, KeyOf(1)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(PartitionIntoGroups(5, 6, KeyOf(1)).ok());
  EXPECT_FALSE(PartitionIntoGroups(0, 0, KeyOf(1)).ok());
}

// 12 clients in 3 groups, 4000 partitions: each pair meets with probability 3/11; 4000 such draws
// have a deviation of 28.2, and 66 pairs stay within 5 of them but for 4e-5.
TEST(PartitionIntoGroups, AnyTwoMeetAsOftenAsAnyOtherTwo) {
  RandomCursor cursor(RandomStream(1, Purpose::kCohort, 0));
  std::array<std::array<int, 12>, 12> met{};
  for (int round = 0; round < 4000; ++round) {
    std::array<uint8_t, 32> key{};
    for (uint8_t& byte : key) byte = static_cast<uint8_t>(cursor.Bounded(256));
    const auto partition = *PartitionIntoGroups(12, 3, key);
    for (const auto& members : partition) {
      for (const uint32_t one : members) {
        for (const uint32_t two : members) ++met[one][two];
      }
    }
  }
  for (size_t one = 0; one < 12; ++one) {
    for (size_t two = one + 1; two < 12; ++two) {
      EXPECT_NEAR(met[one][two], 4000 * 3.0 / 11, 5 * 28.2);
    }
  }
}

double HalfSpoiled(uint32_t n, uint32_t g, uint32_t f) {
  return *SpoiledAtLeast(n, g, f, (n / g + 1) / 2);
}

// Of four clients in two groups of two, two bad: they share a group with probability 1/3.
TEST(SpoiledAtLeast, SmallCasesByHand) {
  EXPECT_EQ(*SpoiledAtLeast(4, 2, 2, 0), 1);
  EXPECT_NEAR(*SpoiledAtLeast(4, 2, 2, 2), 2.0 / 3, 1e-15);
  EXPECT_NEAR(*SpoiledAtLeast(4, 2, 2, 1), 1, 1e-15);
  EXPECT_EQ(*SpoiledAtLeast(4, 2, 3, 2), 1);
  EXPECT_EQ(*SpoiledAtLeast(4, 2, 0, 1), 0);
  // Five in groups of three and two, two bad: both in the first 3/10, both in the second 1/10.
  EXPECT_NEAR(*SpoiledAtLeast(5, 2, 2, 2), 0.6, 1e-15);
  EXPECT_FALSE(SpoiledAtLeast(5, 6, 1, 1).ok());
  EXPECT_FALSE(SpoiledAtLeast(5, 0, 1, 1).ok());
  EXPECT_FALSE(SpoiledAtLeast(5, 2, 6, 1).ok());
}

// Every placement of f bad among 9 clients, counted.
TEST(SpoiledAtLeast, IsWhatCountingGives) {
  for (const uint32_t g : {2u, 3u, 4u}) {
    const uint32_t groups = 9 / g, larger = 9 % groups, size = 9 / groups;
    std::vector<uint32_t> group_of;
    for (uint32_t group = 0; group < groups; ++group) {
      group_of.insert(group_of.end(), size + (group < larger ? 1 : 0), group);
    }
    for (uint32_t f = 0; f <= 9; ++f) {
      std::vector<double> counts(groups + 2);
      double all = 0;
      for (uint32_t bad = 0; bad < 512; ++bad) {
        if (std::popcount(bad) != static_cast<int>(f)) continue;
        uint32_t spoiled = 0;
        for (uint32_t client = 0; client < 9; ++client)
          spoiled |= (bad >> client & 1) << group_of[client];
        for (int least = 0; least <= std::popcount(spoiled); ++least)
          ++counts[static_cast<size_t>(least)];
        ++all;
      }
      for (uint32_t least = 0; least <= groups + 1; ++least) {
        EXPECT_NEAR(*SpoiledAtLeast(9, g, f, least), counts[least] / all, 1e-14) << g << " " << f;
      }
    }
  }
}

// The table of the design: at least half of the groups spoiled, f = n share, rounded.
TEST(SpoiledAtLeast, GivesTheTableOfTheDesign) {
  struct Line {
    uint32_t n, g;
    std::array<double, 5> want;
  };
  constexpr std::array<double, 5> kShares = {0.02, 0.05, 0.10, 0.15, 0.20};
  const Line lines[] = {
      {64, 4, {0, 0, 0, .72, .98}}, {64, 8, {0, 0, .91, 1, 1}},  {128, 4, {0, 0, 0, .45, .99}},
      {128, 8, {0, 0, .95, 1, 1}},  {256, 4, {0, 0, 0, .30, 1}}, {256, 8, {0, 0, .97, 1, 1}},
      {256, 16, {0, .93, 1, 1, 1}},
  };
  for (const Line& line : lines) {
    for (size_t at = 0; at < kShares.size(); ++at) {
      const auto f = static_cast<uint32_t>(std::lround(line.n * kShares[at]));
      EXPECT_NEAR(HalfSpoiled(line.n, line.g, f), line.want[at], 0.005)
          << line.n << " " << line.g << " " << kShares[at];
    }
  }
}

TEST(CorruptInGroup, SmallCasesByHand) {
  EXPECT_EQ(*CorruptInGroup(100, 4, 0), 0u);
  EXPECT_EQ(*CorruptInGroup(100, 4, 100), 4u);
  EXPECT_EQ(*CorruptInGroup(100, 100, 7), 7u);
  // One of 2^20 clients is in a group of one: never within 2^-40. Two of 2^20 in a group of two
  // with probability 1/C(2^20, 2) = 2^-39: still too often. In 2^21 it is 2^-41.
  EXPECT_EQ(*CorruptInGroup(1 << 20, 1, 1), 1u);
  EXPECT_EQ(*CorruptInGroup(1 << 20, 2, 2), 2u);
  EXPECT_EQ(*CorruptInGroup(1 << 21, 2, 2), 1u);
  EXPECT_FALSE(CorruptInGroup(10, 11, 1).ok());
}

// Against sums of exact products in long double.
TEST(CorruptInGroup, IsTheQuantileOfTheHypergeometricDistribution) {
  const auto log_choose = [](uint32_t n, uint32_t k) {
    return std::lgamma(n + 1.0L) - std::lgamma(k + 1.0L) - std::lgamma(n - k + 1.0L);
  };
  for (const uint32_t n : {16u, 64u, 500u, 5000u}) {
    for (const uint32_t g : {4u, 8u, 16u}) {
      for (const uint32_t f : {1u, n / 20 + 1, n / 10 + 1, n / 3}) {
        long double tail = 0;
        uint32_t want = 0;
        for (uint32_t k = std::min(g, f); k > 0; --k) {
          if (n - f >= g - k) {
            tail += std::exp(log_choose(f, k) + log_choose(n - f, g - k) - log_choose(n, g));
          }
          if (tail > 0x1p-40L) {
            want = k;
            break;
          }
        }
        EXPECT_EQ(*CorruptInGroup(n, g, f), want) << n << " " << g << " " << f;
      }
    }
  }
}

TEST(CheckGroupPlan, GivesWhatCanBeHad) {
  const auto plan = CheckGroupPlan(128, 8, 7, 1);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->groups, 16u);
  EXPECT_EQ(plan->largest, 8u);
  EXPECT_EQ(plan->f_groups, 7u);
  EXPECT_EQ(plan->corrupt, *CorruptInGroup(128, 8, 7));
  EXPECT_EQ(plan->h, 8 - plan->corrupt);
  EXPECT_EQ(plan->failure, 0);
}

TEST(CheckGroupPlan, AnImpossiblePairIsRefusedNamingBothNumbers) {
  const absl::Status many = CheckGroupPlan(128, 8, 8, 1).status();
  EXPECT_EQ(many.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(many.message(), HasSubstr("f_max = 8 and h_min = 1 for 16 groups of 8"));
  EXPECT_THAT(many.message(), HasSubstr("median wants 17 groups"));
  const absl::Status few = CheckGroupPlan(128, 4, 12, 3).status();
  EXPECT_EQ(few.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(few.message(), HasSubstr("f_max = 12 and h_min = 3 for 32 groups of 4"));
  EXPECT_THAT(few.message(), HasSubstr("use larger groups"));
  EXPECT_THAT(few.message(), testing::Not(HasSubstr("use smaller groups")));
  const absl::Status both = CheckGroupPlan(64, 8, 10, 8).status();
  EXPECT_THAT(both.message(), HasSubstr("use smaller groups"));
  EXPECT_THAT(both.message(), HasSubstr("use larger groups"));
}

TEST(CheckGroupPlan, EveryRuleHasItsNumberOfGroups) {
  const auto request = [](std::string_view rule, uint32_t n) {
    return CheckGroupPlan({.n = n, .g = 4, .f_max = 3, .h_min = 0, .rule = rule});
  };
  for (const auto& [rule, groups] : {std::pair("median", 7u),
                                     {"trimmed-mean", 7u},
                                     {"geometric-median", 7u},
                                     {"centred-clipping", 7u},
                                     {"krum", 9u},
                                     {"multi-krum", 9u},
                                     {"bulyan", 15u}}) {
    EXPECT_FALSE(request(rule, 4 * groups - 1).ok()) << rule;
    const auto plan = request(rule, 4 * groups);
    ASSERT_TRUE(plan.ok()) << rule << plan.status();
    EXPECT_EQ(plan->f_groups, 3u) << rule;
  }
  for (const char* rule : {"mean", "norm-bound", "fltrust", "votes"}) {
    EXPECT_EQ(request(rule, 400).status().code(), absl::StatusCode::kInvalidArgument) << rule;
  }
  EXPECT_FALSE(request("bulyan", 8).ok());  // fewer groups than it needs for no bad one at all
}

TEST(CheckGroupPlan, AnOperatorCanAcceptAFailureProbability) {
  GroupRequest request{.n = 64, .g = 4, .f_max = 9, .h_min = 0};
  EXPECT_FALSE(CheckGroupPlan(request).ok());
  request.accepted_failure = 0.9;
  const auto plan = CheckGroupPlan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->failure, *SpoiledAtLeast(64, 4, 9, 8));
  request.accepted_failure = plan->failure / 2;
  EXPECT_FALSE(CheckGroupPlan(request).ok());
  request.accepted_failure = 1;
  EXPECT_EQ(CheckGroupPlan(request).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CheckGroupPlan, DropOutsLeaveTheThreshold) {
  GroupRequest request{.n = 256, .g = 32, .f_max = 3, .h_min = 1, .threshold = 20};
  const auto plan = CheckGroupPlan(request);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->h, 20 - plan->corrupt);
  request.threshold = 33;
  EXPECT_EQ(CheckGroupPlan(request).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rivulet
