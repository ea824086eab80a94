// RoundEngine: codec power-sgd, two rounds a step.
#include <gtest/gtest.h>

#include <set>

#include "engine_play.h"

namespace rivulet {
namespace {

using std::chrono::seconds;

EngineConfig InPairs() {
  EngineConfig config = Config();
  config.rounds = 4;
  config.two_passes = true;
  config.clients_per_round = 3;
  config.evaluate_every = 1;
  return config;
}

// Opens round 1 of three of four clients, of whom two send their updates.
void CloseFirstPass(Play& play) {
  play.Connect("abcd");
  play.After(seconds(0));
  for (const char* name : {"a", "b", "c", "d"}) play.Do(ReportStored{name, 0});
  std::vector<std::string> cohort(play.engine.state().cohort.begin(),
                                  play.engine.state().cohort.end());
  ASSERT_EQ(cohort.size(), 3u);
  play.Do(TaskFailed{cohort[0], 1, 1, "vanished"});
  play.Do(UpdateStored{cohort[1], 1, 1});
  play.Do(UpdateStored{cohort[2], 1, 1});
  ASSERT_EQ(play.engine.state().phase, Phase::kClosed);
}

TEST(TwoPasses, TheSecondIsOfThoseWhoCountedInTheFirstAndNothingIsEvaluatedBetween) {
  Play play(InPairs());
  CloseFirstPass(play);
  const std::set<std::string> counted = play.engine.state().reported;
  const Lines lines = play.Do(Published{});
  ASSERT_EQ(lines.size(), 3u) << lines[0];
  EXPECT_TRUE(lines[0].starts_with("open 2.1 ")) << lines[0];
  EXPECT_EQ(play.engine.state().cohort, counted);
  EXPECT_EQ(play.engine.state().needed, 2);
  for (const std::string& name : counted) play.Do(UpdateStored{name, 2, 1});
  const Lines next = play.Do(Published{});
  ASSERT_FALSE(next.empty());
  EXPECT_EQ(next[0], "open evaluation 2 abcd");
  for (const char* name : {"a", "b", "c", "d"}) play.Do(ReportStored{name, 2});
  EXPECT_EQ(play.engine.state().cohort.size(), 3u);  // a first pass is drawn from all again
}

TEST(TwoPasses, WhoCountedInAnAttemptThatFailedIsNotAskedForTheSecond) {
  Play play(InPairs());
  CloseFirstPass(play);
  const std::set<std::string> before = play.engine.state().reported;
  play.Do(MaskingFailed{"two endorsements are missing", true, false});
  ASSERT_EQ(play.engine.state().attempt, 2u);
  const std::set<std::string> cohort(play.engine.state().cohort.begin(),
                                     play.engine.state().cohort.end());
  std::string gone;
  for (const std::string& name : before) {
    if (cohort.contains(name)) gone = name;
  }
  ASSERT_FALSE(gone.empty());
  play.Do(TaskFailed{gone, 1, 2, "vanished"});
  for (const std::string& name : cohort) {
    if (name != gone) play.Do(UpdateStored{name, 1, 2});
  }
  const std::set<std::string> counted = play.engine.state().reported;
  ASSERT_EQ(counted.size(), 2u);
  play.Do(Published{});
  EXPECT_EQ(play.engine.state().cohort, counted);
}

TEST(TwoPasses, AfterARestartTheSecondIsStillOfThem) {
  EngineState stored;
  stored.round = 1;
  stored.expected = {"a", "b", "c", "d"};
  stored.counted = {{"a", 1}, {"c", 1}};
  Play play(InPairs(), stored);
  play.Connect("abd");
  EXPECT_EQ(play.engine.state().phase, Phase::kWaiting);
  EXPECT_EQ(play.Do(ClientConnected{"c"}),
            (Lines{"open 2.1 ac of abcd need 2", "train a 2.1", "train c 2.1"}));
}

TEST(TwoPasses, ASecondThatNobodyComesForIsLostAndTheNextPairBegins) {
  EngineConfig config = InPairs();
  config.evaluates = false;
  EngineState stored;
  stored.round = 1;
  stored.expected = {"a", "b", "c", "d"};
  stored.counted = {{"a", 1}, {"c", 1}};
  Play play(config, stored);
  play.Connect("abd");
  EXPECT_EQ(play.engine.Waiting(play.now), "waiting: 3 of 4 nodes to return, 00:16:40 left");
  EXPECT_EQ(play.After(seconds(1000)),
            (Lines{"lose 2: round 2 could not start: 1 of 2 nodes of the first pass were connected "
                   "after 00:16:40"}));
  const Lines lines = play.After(seconds(10));  // c may still return
  ASSERT_FALSE(lines.empty());
  EXPECT_TRUE(lines[0].starts_with("open 3.1 abd ")) << lines[0];
}

// a and b counted in the first pass.
EngineState AfterFirstPass() {
  EngineState stored;
  stored.round = 1;
  stored.expected = {"a", "b"};
  stored.counted = {{"a", 1}, {"b", 1}};
  return stored;
}

TEST(TwoPasses, ASecondThatIsAbandonedThreeTimesIsLostToo) {
  EngineConfig config = InPairs();
  config.evaluates = false;
  Play play(config, AfterFirstPass());
  play.Connect("ab");
  for (int attempt = 1; attempt <= 2; ++attempt) play.Do(MaskingFailed{"no keys", true, false});
  const Lines lines = play.Do(MaskingFailed{"no keys", true, false});
  ASSERT_GE(lines.size(), 5u);
  EXPECT_EQ(lines[0], "abandon: no keys");  // and both are told
  EXPECT_EQ(lines[3], "lose 2: round 2 was abandoned 3 times in a row; the last attempt: no keys");
  EXPECT_TRUE(lines[4].starts_with("open 3.1 ab ")) << lines[4];
}

TEST(TwoPasses, ASecondThatHadAllItsAttemptsIsLostToo) {
  EngineConfig config = InPairs();
  config.evaluates = false;
  config.most_attempts = 2;
  Play play(config, AfterFirstPass());
  play.Connect("ab");
  play.Do(MaskingFailed{"no keys", true, false});
  const Lines lines = play.Do(MaskingFailed{"no keys", true, false});
  ASSERT_GE(lines.size(), 5u);
  EXPECT_EQ(
      lines[3],
      "lose 2: round 2: all 2 attempts that its masks allow were abandoned; the last: no keys");
  EXPECT_TRUE(lines[4].starts_with("open 3.1 ab ")) << lines[4];
}

TEST(TwoPasses, WithALostFirstItsSecondIsLostAsWell) {
  Play play(InPairs());
  CloseFirstPass(play);
  play.Do(ClientExcluded{"d"});
  std::vector<Action> actions =
      play.engine.Step(MaskingFailed{"wrong shares", false, true}, play.now);
  ASSERT_FALSE(actions.empty());
  const auto* const lost = std::get_if<LoseRound>(&actions[0]);
  ASSERT_NE(lost, nullptr);
  EXPECT_EQ(lost->round, 1u);
  EXPECT_EQ(lost->last, 2u);
  EXPECT_EQ(play.engine.state().round, 2u);
  // Of the last pair there is nothing left to go on with.
  EngineState stored;
  stored.round = 3;
  stored.expected = {"a", "b"};
  stored.counted = {{"a", 3}, {"b", 3}};
  Play last(InPairs(), stored);
  last.Connect("ab");
  EXPECT_EQ(last.Do(MaskingFailed{"wrong shares", false, true}).back(),
            "failed: round 4 cannot be repeated: wrong shares");
}

}  // namespace
}  // namespace rivulet
