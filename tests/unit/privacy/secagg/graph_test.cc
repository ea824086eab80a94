#include "privacy/secagg/shared/graph.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/io/sha256.h"
#include "privacy/crypto/hkdf.h"
#include "tests/unit/privacy/chi_square.h"
#include "tests/unit/privacy/kat.h"
#include "tests/unit/privacy/seeded_entropy.h"

namespace rivulet::secagg {
namespace {

GraphRule Complete(uint32_t n, uint8_t mode, uint32_t gamma_ppm) {
  const auto rule = RuleFor(n, mode, gamma_ppm, 200000, 0, 256);
  EXPECT_TRUE(rule.ok()) << rule.status();
  return rule.value_or(GraphRule{});
}

// The (t, n - t) table of the design, mode 1.
TEST(GraphRule, CompleteGraphsMatchTheTable) {
  const uint32_t sizes[] = {4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 50, 64, 100, 128, 200, 256};
  const std::map<uint32_t, std::vector<uint32_t>> thresholds = {
      {50000, {3, 4, 4, 5, 6, 7, 9, 11, 13, 17, 27, 34, 53, 68, 106, 135}},
      {100000, {3, 4, 4, 5, 6, 7, 9, 12, 14, 18, 28, 36, 56, 71, 111, 141}},
      {200000, {3, 4, 4, 5, 7, 8, 10, 13, 15, 20, 31, 39, 61, 77, 121, 154}},
      {333334, {3, 4, 5, 6, 7, 9, 11, 14, 17, 22, 34, 43, 67, 86, 134, 171}}};
  for (const auto& [gamma, wanted] : thresholds) {
    for (size_t index = 0; index < std::size(sizes); ++index) {
      const GraphRule rule = Complete(sizes[index], 1, gamma);
      EXPECT_EQ(rule.kind, kCompleteGraph);
      EXPECT_EQ(rule.k, sizes[index] - 1);
      EXPECT_EQ(rule.t, wanted[index]) << gamma << " " << sizes[index];
      EXPECT_EQ(rule.quorum, wanted[index]);
    }
  }
}

TEST(GraphRule, SemiHonestCompleteGraphsNeedAMajorityOrMoreThanTheCorrupt) {
  EXPECT_EQ(Complete(3, 0, 100000).t, 2u);
  EXPECT_EQ(Complete(64, 0, 100000).t, 33u);
  EXPECT_EQ(Complete(10, 0, 800000).t, 9u);  // c + 1
  EXPECT_EQ(Complete(64, 0, 100000).quorum, 0u);
}

// 2t > s + c strictly, for every rule that there is, odd and even sums alike.
TEST(GraphRule, NoMaliciousThresholdCanBeSplit) {
  const nlohmann::json tables = GoldenVectors("secagg_graph_params.json")["tables"];
  size_t odd = 0, checked = 0;
  const auto check = [&](uint32_t n, uint32_t gamma, uint32_t delta, uint8_t policy) {
    const auto rule = RuleFor(n, 1, gamma, delta, policy, 3);
    if (!rule.ok()) return;
    const uint32_t set = rule->k + 1;
    EXPECT_GT(2 * rule->t, set + rule->corrupt) << n << " " << gamma << " " << delta;
    EXPECT_LE(rule->t, set);
    EXPECT_GT(2 * rule->quorum, n + CorruptClients(n, gamma));
    odd += (set + rule->corrupt) % 2;
    ++checked;
  };
  for (const uint32_t gamma : {0u, 50000u, 100000u, 200000u, 333334u, 500000u}) {
    for (uint32_t n = 4; n <= 300; ++n) check(n, gamma, 200000, 0);
  }
  for (const auto& table : tables) {
    const auto ppm = [&](const char* rate) {
      return static_cast<uint32_t>(std::lround(table[rate].get<double>() * 1e6));
    };
    for (uint32_t n = 60; n <= 5000; n += 7) check(n, ppm("gamma"), ppm("delta"), 1);
  }
  EXPECT_GT(checked, 5000u);
  EXPECT_GT(odd, 1000u);
}

// The compiled table is the file, row by row, and between rows the next larger one rules.
TEST(GraphRule, RingsAreTheRowsOfTheFile) {
  size_t rows = 0;
  const nlohmann::json document = GoldenVectors("secagg_graph_params.json");
  for (const auto& table : document["tables"]) {
    const uint8_t mode = table["mode"] == "malicious" ? 1 : 0;
    if (table["sigma"] != (mode == 1 ? 64 : 40)) continue;
    const auto ppm = [&](const char* rate) {
      return static_cast<uint32_t>(std::lround(table[rate].get<double>() * 1e6));
    };
    uint32_t before = 0;
    for (const auto& row : table["rows"]) {
      const uint32_t n = row[0], k = row[1];
      const uint32_t quorum = mode == 1 ? (n + CorruptClients(n, ppm("gamma"))) / 2 + 1 : 0;
      const GraphRule wanted{
          .kind = kRingGraph, .k = k, .t = row[2], .quorum = quorum, .corrupt = row[3]};
      const auto rule = RuleFor(n, mode, ppm("gamma"), ppm("delta"), 1, 3);
      ASSERT_TRUE(rule.ok()) << rule.status();
      EXPECT_EQ(*rule, wanted) << n;
      const auto above = RuleFor(before + 1, mode, ppm("gamma"), ppm("delta"), 1, 3);
      if (before + 1 > k) {
        ASSERT_TRUE(above.ok()) << above.status();
        EXPECT_EQ(above->k, k) << before + 1;
      }
      before = n;
      ++rows;
    }
    EXPECT_FALSE(RuleFor(before + 1, mode, ppm("gamma"), ppm("delta"), 1, 3).ok());
  }
  EXPECT_EQ(rows, 7 * 32 + 6 * 23);
}

// Nobody may be missing then, but the rule still exists.
TEST(GraphRule, AlmostAllCorruptNeedsEverybody) {
  for (const uint32_t n : {4u, 5u, 10u, 256u}) {
    EXPECT_EQ(Complete(n, 1, 999999).t, n);
    EXPECT_EQ(Complete(n, 0, 999999).t, n);
  }
}

TEST(GraphRule, PolicyChoosesTheGraph) {
  EXPECT_EQ(RuleFor(1000, 1, 100000, 200000, 0, 256)->kind, kCompleteGraph);
  EXPECT_EQ(RuleFor(256, 1, 100000, 200000, 1, 256)->kind, kCompleteGraph);
  const auto ring = RuleFor(257, 1, 100000, 200000, 1, 256);
  EXPECT_EQ(ring->kind, kRingGraph);
  EXPECT_EQ(RuleFor(1000, 1, 100000, 200000, 1, 256)->k, 254u);
  EXPECT_EQ(RuleFor(1000, 1, 100000, 200000, 1, 256)->t, 163u);
  EXPECT_EQ(RuleFor(1000, 1, 100000, 200000, 1, 256)->quorum, 551u);
}

TEST(GraphRule, WhatNoRuleCoversIsRefused) {
  const auto refused = [](uint32_t n, uint8_t mode, uint32_t gamma, uint32_t delta, uint8_t policy,
                          uint32_t complete_max) {
    return RuleFor(n, mode, gamma, delta, policy, complete_max).status().code() ==
           absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused(3, 1, 100000, 200000, 0, 256));     // fewer than 4
  EXPECT_TRUE(refused(2, 0, 100000, 200000, 0, 64));      // fewer than 3
  EXPECT_TRUE(refused(100, 2, 100000, 200000, 0, 256));   // mode
  EXPECT_TRUE(refused(100, 1, 100000, 200000, 2, 256));   // policy
  EXPECT_TRUE(refused(100, 1, 1000000, 200000, 0, 256));  // all corrupt
  EXPECT_TRUE(refused(100, 1, 4294967295, 200000, 0, 256));
  EXPECT_TRUE(refused(1000, 1, 100001, 200000, 1, 256));  // rates not in the table
  EXPECT_TRUE(refused(1000, 1, 330000, 330000, 1, 256));  // infeasible in mode 1
  EXPECT_TRUE(refused(20, 1, 100000, 200000, 1, 10));     // the row has 42 neighbours
}

TEST(Permutation, MatchesTheKnownAnswers) {
  const auto& kat = SecaggKat()["graph"];
  const std::string sid = FromHex(SecaggKat()["key_schedule"]["sid"]);
  const std::string ikm = FromHex(kat["ikm"]);
  const Secret32 key = HkdfSha256(BytesOf(ikm), BytesOf(sid), Lp("rvl1/graph"));
  EXPECT_EQ(key, SecretFromHex(kat["graph_key"]));
  const auto hash = [](const std::vector<uint32_t>& values) {
    std::string bytes;
    for (const uint32_t value : values) bytes += U32(value);
    return Sha256Hex(bytes);
  };
  for (const auto& each : kat["cases"]) {
    const std::vector<uint32_t> pi = Permutation(key, each["n"]);
    for (size_t at = 0; at < 10; ++at) EXPECT_EQ(pi[at], each["perm_first_10"][at]);
    EXPECT_EQ(hash(pi), each["perm_sha256_u32le"].get<std::string>());
    const std::vector<uint32_t> of_0 = Neighbours(pi, 0, each["k"]);
    EXPECT_EQ(of_0.size(), each["k"]);
    EXPECT_EQ(hash(of_0), each["neighbours_of_0_sha256_u32le"].get<std::string>());
  }
}

// All 120 orders of five, 100 keys each in the mean. |z| > 6: 2e-9.
TEST(Permutation, IsUniform) {
  SeededEntropy entropy(1);
  std::map<std::vector<uint32_t>, size_t> place;
  std::vector<uint32_t> order = {0, 1, 2, 3, 4};
  do place.emplace(order, place.size());
  while (std::next_permutation(order.begin(), order.end()));
  std::vector<uint64_t> counts(120);
  for (int repeat = 0; repeat < 12000; ++repeat) {
    ++counts[place.at(Permutation(entropy.Secret(), 5))];
  }
  EXPECT_LT(std::abs(UniformityZ(counts)), 6);
}

TEST(Neighbours, AreMutualSortedAndOthers) {
  const std::vector<uint32_t> pi = Permutation(SeededEntropy(2).Secret(), 91);
  for (const uint32_t k : {2u, 42u, 90u}) {
    for (uint32_t u = 0; u < 91; ++u) {
      const std::vector<uint32_t> of_u = Neighbours(pi, u, k);
      ASSERT_EQ(of_u.size(), k);
      ASSERT_TRUE(std::is_sorted(of_u.begin(), of_u.end()));
      ASSERT_EQ(std::adjacent_find(of_u.begin(), of_u.end()), of_u.end());
      for (const uint32_t v : of_u) {
        ASSERT_NE(v, u);
        const std::vector<uint32_t> of_v = Neighbours(pi, v, k);
        ASSERT_TRUE(std::binary_search(of_v.begin(), of_v.end(), u));
      }
    }
  }
  EXPECT_EQ(AllOthers(4, 2), (std::vector<uint32_t>{0, 1, 3}));
}

}  // namespace
}  // namespace rivulet::secagg
