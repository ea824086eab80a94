#include "simulations/partition/client_names.h"

#include <gmock/gmock.h>

namespace rivulet {
namespace {

using testing::ElementsAre;

std::vector<std::string> NamesOf(const std::vector<std::string>& sources) {
  return ClientNames(sources);
}

TEST(ClientNames, KeepLettersAndDigitsAndJoinTheRestWithOneDash) {
  EXPECT_THAT(NamesOf({"men-women", "First Citizen", "__init__", "Caf\u00e9 9", "!?"}),
              ElementsAre("men-women", "first-citizen", "init", "caf-9", "client"));
}

TEST(ClientNames, AreDistinctInTheOrderGiven) {
  EXPECT_THAT(NamesOf({"All", "ALL", "all", "all-2", "all"}),
              ElementsAre("all", "all-2", "all-3", "all-2-2", "all-4"));
}

TEST(ClientNames, AreCutToALengthThatFitsEverywhere) {
  EXPECT_EQ(NamesOf({std::string(500, 'x')})[0], std::string(48, 'x'));
}

TEST(NumberedClients, SortAsTheyCount) {
  const auto names = NumberedClients(11);
  EXPECT_EQ(names.front(), "client-00");
  EXPECT_EQ(names.back(), "client-10");
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
}

}  // namespace
}  // namespace rivulet
