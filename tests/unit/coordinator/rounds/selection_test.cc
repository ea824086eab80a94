#include "coordinator/rounds/selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace rivulet {
namespace {

EngineConfig Drawing() {
  EngineConfig config;
  config.min_clients = 2;
  return config;
}

std::map<std::string, uint64_t> Clients(int count) {
  std::map<std::string, uint64_t> clients;
  for (int at = 0; at < count; ++at) clients["c" + std::to_string(10 + at)] = at % 4;
  return clients;
}

struct Share {
  double fraction;
  int clients_per_round;
  double over;
  int eligible;
  int needed;
  size_t invited;
};

TEST(Selection, CohortSizesAreAsTold) {
  // floor(fraction * eligible), at least min_clients; ceil(needed * over), at most all.
  for (const Share& share : std::initializer_list<Share>{{1.0, 0, 1.0, 10, 10, 10},
                                                         {0.3, 0, 1.0, 10, 3, 3},
                                                         {0.05, 0, 1.0, 10, 2, 2},
                                                         {1.0, 4, 1.0, 10, 4, 4},
                                                         {1.0, 4, 1.3, 10, 4, 6},
                                                         {1.0, 4, 3.0, 10, 4, 10},
                                                         {1.0, 4, 1.0, 3, 3, 3}}) {
    EngineConfig config = Drawing();
    config.fraction = share.fraction;
    config.clients_per_round = share.clients_per_round;
    config.over_selection = share.over;
    const Cohort cohort = SelectCohort(config, Clients(share.eligible), 1, 1);
    EXPECT_EQ(cohort.needed, share.needed) << share.fraction << " " << share.clients_per_round;
    EXPECT_EQ(cohort.invited.size(), share.invited) << share.over;
    EXPECT_TRUE(std::is_sorted(cohort.invited.begin(), cohort.invited.end()));
  }
}

TEST(Selection, TheDrawDependsOnSeedRoundAndAttemptAlone) {
  EngineConfig config = Drawing();
  config.clients_per_round = 5;
  config.seed = 3;
  const auto draw = [&](uint64_t round, uint32_t attempt) {
    return SelectCohort(config, Clients(20), round, attempt).invited;
  };
  EXPECT_EQ(draw(1, 1), draw(1, 1));
  EXPECT_NE(draw(1, 1), draw(2, 1));
  EXPECT_NE(draw(1, 1), draw(1, 2));
  const auto before = draw(1, 1);
  config.seed = 4;
  EXPECT_NE(draw(1, 1), before);
}

// 4000 draws of 5 from 20: each client is expected 1000 times with standard deviation
// sqrt(4000 * 1/4 * 3/4) = 27.4; beyond 5 of them with probability 2e-5 for 20 clients, seed fixed.
TEST(Selection, EveryClientIsDrawnEquallyOften) {
  EngineConfig config = Drawing();
  config.clients_per_round = 5;
  std::map<std::string, int> counts;
  for (uint64_t round = 1; round <= 4000; ++round) {
    for (const std::string& name : SelectCohort(config, Clients(20), round, 1).invited) {
      ++counts[name];
    }
  }
  ASSERT_EQ(counts.size(), 20u);
  for (const auto& [name, count] : counts) EXPECT_NEAR(count, 1000, 137) << name;
}

TEST(Selection, CapabilityTakesTheMostCapableAndAllTakesAll) {
  EngineConfig config = Drawing();
  config.clients_per_round = 3;
  config.selection = "capability";
  // Capability 3: c13, c17; the next best, 2, by name: c12.
  EXPECT_EQ(SelectCohort(config, Clients(9), 1, 1).invited,
            (std::vector<std::string>{"c12", "c13", "c17"}));
  config.selection = "all";
  EXPECT_EQ(SelectCohort(config, Clients(9), 1, 1).needed, 9);
}

// The others are those who would be drawn without it.
TEST(Selection, TheTrustedOneIsInvitedBesideTheCohort) {
  EngineConfig config = Drawing();
  config.clients_per_round = 5;
  std::map<std::string, uint64_t> others = Clients(20);
  others.erase("c15");
  EngineConfig trusting = config;
  trusting.trusted = "c15";
  for (uint64_t round = 1; round <= 20; ++round) {
    std::vector<std::string> want = SelectCohort(config, others, round, 1).invited;
    want.push_back("c15");
    std::sort(want.begin(), want.end());
    const Cohort cohort = SelectCohort(trusting, Clients(20), round, 1);
    EXPECT_EQ(cohort.invited, want) << round;
    EXPECT_EQ(cohort.needed, 6);
  }
}

}  // namespace
}  // namespace rivulet
