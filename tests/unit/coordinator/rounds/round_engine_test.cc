#include "coordinator/rounds/round_engine.h"

#include <gtest/gtest.h>

#include "coordinator/rounds/refusals.h"
#include "coordinator/rounds/sentences.h"
#include "engine_play.h"

namespace rivulet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Shares were given away, so the round is not repeated. Without the one at fault the next may do.
TEST(RoundEngine, ALostRoundIsFollowedByTheNextWithoutTheOneExcluded) {
  Play play;
  play.OpenFirst();
  for (const char* name : {"a", "b", "c"}) play.Do(UpdateStored{name, 1, 1});
  ASSERT_EQ(play.engine.state().phase, Phase::kClosed);
  EXPECT_EQ(play.Do(ClientExcluded{"c"}), Lines{});
  const Lines lines = play.Do(MaskingFailed{"wrong shares", false, true});
  ASSERT_GE(lines.size(), 2u);
  EXPECT_EQ(lines[0], "lose 1: wrong shares");
  EXPECT_EQ(lines[1], "open 2.1 " + Text({"a", "b"}) + " of " + Text({"a", "b"}) + " need 2");
  EXPECT_EQ(play.engine.state().round, 1u);
}

TEST(RoundEngine, WithoutSomebodyToExcludeALostRoundIsTheEnd) {
  Play play;
  play.OpenFirst();
  for (const char* name : {"a", "b", "c"}) play.Do(UpdateStored{name, 1, 1});
  EXPECT_EQ(play.Do(MaskingFailed{"wrong shares", false, false}),
            (Lines{"abandon: wrong shares", "failed: round 1 cannot be repeated: wrong shares"}));
}

// Three liars would end the job, one attempt each. Those that exclude nobody count as ever.
TEST(RoundEngine, AnAttemptThatExcludedAClientIsNoneOfThoseThatEndTheJob) {
  EngineConfig config = Config();
  config.evaluates = false;
  config.min_available = 6;
  Play play(config);
  play.Connect("abcdef");
  uint32_t attempt = 1;
  for (const char* liar : {"c", "d", "e", "f"}) {
    ASSERT_EQ(play.engine.state().phase, Phase::kOpen);
    EXPECT_EQ(play.engine.state().attempt, attempt++);
    play.Do(ClientExcluded{liar});
    play.Do(MaskingFailed{"no nonce", true, true});
    EXPECT_EQ(play.engine.state().abandoned, 0);
  }
  play.Do(MaskingFailed{"no keys", true, false});
  play.Do(MaskingFailed{"no keys", true, false});
  EXPECT_EQ(play.Do(MaskingFailed{"no keys", true, false}).back(),
            "failed: round 1 was abandoned 3 times in a row; the last attempt: no keys");
}

// Clients take no attempt above the protocol's number, whatever the others came to.
TEST(RoundEngine, ARoundHasNoMoreAttemptsThanItsMasksAllow) {
  EngineConfig config = Config();
  config.evaluates = false;
  config.min_available = 6;
  config.most_attempts = 2;
  Play play(config);
  play.Connect("abcdef");
  play.Do(ClientExcluded{"c"});
  play.Do(MaskingFailed{"no nonce", true, true});
  EXPECT_EQ(play.engine.state().phase, Phase::kOpen);
  play.Do(ClientExcluded{"d"});
  EXPECT_EQ(
      play.Do(MaskingFailed{"no keys", true, true}).back(),
      "failed: round 1: all 2 attempts that its masks allow were abandoned; the last: no keys");
}

TEST(RoundEngine, WhenNobodyIsLeftToExcludeTheJobWaitsInVain) {
  EngineConfig config = Config();
  config.evaluates = false;
  Play play(config);
  play.Connect("abc");
  for (const char* liar : {"b", "c"}) {
    play.Do(ClientExcluded{liar});
    play.Do(MaskingFailed{"no nonce", true, true});
  }
  EXPECT_EQ(play.engine.state().phase, Phase::kWaiting);
  play.After(config.start_deadline);
  EXPECT_EQ(play.engine.state().phase, Phase::kEnded);
}

TEST(RoundEngine, AWholeJobIsThisTranscript) {
  Play play;
  EXPECT_EQ(play.Do(ClientConnected{"b"}), Lines{});
  EXPECT_EQ(play.Do(ClientConnected{"a"}), Lines{});
  EXPECT_EQ(play.Do(ClientConnected{"c"}),
            (Lines{"open evaluation 0 abc", "evaluate a 0", "evaluate b 0", "evaluate c 0"}));
  play.Do(ReportStored{"a", 0});
  play.Do(ReportStored{"b", 0});
  EXPECT_EQ(play.Do(ReportStored{"c", 0}),
            (Lines{"end evaluation 0 missing ", "open 1.1 abc of abc need 3", "train a 1.1",
                   "train b 1.1", "train c 1.1"}));
  play.Do(UpdateStored{"c", 1, 1});
  play.Do(UpdateStored{"a", 1, 1});
  EXPECT_EQ(play.Do(UpdateStored{"b", 1, 1}), (Lines{"close 1 with abc"}));
  EXPECT_EQ(play.Do(Published{}),
            (Lines{"open 2.1 abc of abc need 3", "train a 2.1", "train b 2.1", "train c 2.1"}));
  for (const char* name : {"a", "b", "c"}) play.Do(UpdateStored{name, 2, 1});
  EXPECT_EQ(play.Do(Published{}),
            (Lines{"open evaluation 2 abc", "evaluate a 2", "evaluate b 2", "evaluate c 2"}));
  play.Do(ReportStored{"a", 2});
  play.Do(TaskFailed{"b", 2, 0});
  EXPECT_EQ(play.Do(ReportStored{"c", 2}), (Lines{"end evaluation 2 missing ", "finished"}));
  EXPECT_EQ(play.engine.state().phase, Phase::kEnded);
  EXPECT_EQ(play.Do(TimePassed{}), Lines{});
}

struct Ending {
  const char* name;
  std::vector<Event> events;  // in open round 1.1 of a, b, c
  milliseconds wait;
  Lines want;
};

class OpenRoundTable : public testing::TestWithParam<Ending> {};

TEST_P(OpenRoundTable, EndsAsTold) {
  Play play;
  play.OpenFirst();
  Lines last;
  for (const Event& event : GetParam().events) last = play.Do(event);
  if (GetParam().wait > milliseconds(0)) last = play.After(GetParam().wait);
  EXPECT_EQ(last, GetParam().want);
}

const UpdateStored kA{"a", 1, 1}, kB{"b", 1, 1};
const TaskFailed kNoB{"b", 1, 1}, kNoC{"c", 1, 1};
const Lines kSecondAttempt = {"open 1.2 abc of abc need 3", "train a 1.2", "train b 1.2",
                              "train c 1.2"};
Lines Then(Lines first, const Lines& rest) {
  first.insert(first.end(), rest.begin(), rest.end());
  return first;
}

INSTANTIATE_TEST_SUITE_P(
    All, OpenRoundTable,
    testing::Values(
        Ending{"DeadlineWithEnoughCloses", {kA, kB}, seconds(100), {"close 1 with ab", "revoke c"}},
        Ending{"DeadlineWithTooFewAbandons",
               {kA},
               seconds(100),
               Then({"abandon: the deadline passed with 1 of 2 updates; missing: b, c", "revoke b",
                     "revoke c"},
                    kSecondAttempt)},
        Ending{"JustBeforeTheDeadlineNothing", {kA, kB}, milliseconds(99999), {}},
        Ending{"AFailureWithinTheLimitCloses", {kA, kNoC, kB}, {}, {"close 1 with ab"}},
        Ending{"TooManyFailuresAbandon",
               {kA, kNoB, kNoC},
               {},
               Then({"abandon: 2 of 3 clients failed"}, kSecondAttempt)},
        Ending{"AFailureAfterTheUpdateCountsNothing", {kA, TaskFailed{"a", 1, 1}}, {}, {}},
        Ending{"TheSameUpdateTwiceCountsOnce", {kA, kB, kA, kA}, {}, {}},
        Ending{"AStrangersUpdateCountsNothing", {kA, kB, UpdateStored{"x", 1, 1}}, {}, {}},
        Ending{"AnotherAttemptsUpdateCountsNothing", {kA, kB, UpdateStored{"c", 1, 2}}, {}, {}},
        Ending{"AnotherRoundsUpdateCountsNothing", {kA, kB, UpdateStored{"c", 2, 1}}, {}, {}},
        Ending{"AClientThatLeavesIsWaitedFor", {kA, kB, ClientDisconnected{"c"}}, seconds(99), {}},
        Ending{"OneThatReturnsGetsItsTaskAgain",
               {ClientDisconnected{"c"}, ClientConnected{"c"}},
               {},
               {"train c 1.1"}},
        Ending{
            "OneThatReportedDoesNot", {kA, ClientDisconnected{"a"}, ClientConnected{"a"}}, {}, {}},
        Ending{
            "OneThatGaveUpDoesNot", {kNoC, ClientDisconnected{"c"}, ClientConnected{"c"}}, {}, {}},
        Ending{"ANewcomerWaitsForTheNextRound", {ClientConnected{"d"}}, {}, {}},
        Ending{"StopWaitsForTheRound", {StopRequested{false}}, {}, {}},
        Ending{"StopNowDoesNot",
               {kA, StopRequested{true}},
               {},
               {"abandon: stopped by the operator", "revoke b", "revoke c",
                "stopped: stopped by the operator"}},
        Ending{"StopEndsAfterTheRound",
               {StopRequested{false}, kA, kB, UpdateStored{"c", 1, 1}, Published{}},
               {},
               {"stopped: stopped by the operator"}},
        Ending{"ImpossibleWorkFailsTheJob",
               {kA, kB, UpdateStored{"c", 1, 1}, WorkFailed{"rotten"}},
               {},
               {"failed: rotten"}}),
    [](const auto& info) { return info.param.name; });

TEST(RoundEngine, UpdatesBeingCommittedWhenTheRoundFreezesStillCount) {
  EngineConfig config = Config();
  config.clients_per_round = 2;
  config.over_selection = 1.5;
  Play play(config);
  play.OpenFirst();
  play.Do(kA);
  const auto frozen = play.engine.Step(kB, play.now);
  ASSERT_EQ(frozen.size(), 1u);
  EXPECT_FALSE(play.engine.Wants("c", 1, 1));  // no new one
  EXPECT_TRUE(play.engine.Step(UpdateStored{"c", 1, 1}, play.now).empty());
  const auto closed = play.engine.Step(Frozen{}, play.now);
  EXPECT_EQ(std::visit(Teller{}, closed.at(0)), "close 1 with abc");
}

TEST(RoundEngine, LaterRoundsWaitForTheClientsOfTheLastOneButNotForEver) {
  Play play;
  play.OpenFirst();
  for (const char* name : {"a", "b", "c"}) play.Do(UpdateStored{name, 1, 1});
  play.Do(ClientDisconnected{"c"});
  EXPECT_EQ(play.Do(Published{}), Lines{});
  EXPECT_EQ(play.engine.Waiting(play.now), "waiting: 2 of 3 nodes to return, 00:16:40 left");
  EXPECT_EQ(*play.engine.NextDeadline(), play.now + seconds(10));
  EXPECT_EQ(play.After(seconds(9)), Lines{});
  EXPECT_EQ(play.After(seconds(1)),
            (Lines{"open 2.1 ab of ab need 2", "train a 2.1", "train b 2.1"}));
}

TEST(RoundEngine, AnEvaluationDoesNotWaitForTheDeadlineOfClientsThatAreGone) {
  Play play;
  play.Connect("abc");
  play.Do(ReportStored{"a", 0});
  play.Do(ReportStored{"b", 0});
  play.Do(ClientDisconnected{"c"});
  EXPECT_EQ(play.After(seconds(10)).at(0), "end evaluation 0 missing c");
}

TEST(RoundEngine, AFinalEvaluationNobodyComesForStillFinishesTheJob) {
  EngineConfig config = Config();
  config.rounds = 1;
  Play play(config);
  play.OpenFirst();
  for (const char* name : {"a", "b", "c"}) play.Do(UpdateStored{name, 1, 1});
  for (const char* name : {"a", "b", "c"}) play.Do(ClientDisconnected{name});
  EXPECT_EQ(play.Do(Published{}), Lines{});
  EXPECT_EQ(play.After(seconds(1000)), Lines{"finished"});
}

TEST(RoundEngine, EvaluationsComeEverySoManyRounds) {
  EngineConfig config = Config();
  config.rounds = 5;
  config.evaluate_every = 2;
  Play play(config);
  play.OpenFirst();
  std::vector<uint64_t> evaluated;
  for (uint64_t round = 1; round <= 5; ++round) {
    for (const char* name : {"a", "b", "c"}) play.Do(UpdateStored{name, round, 1});
    play.Do(Published{});
    if (play.engine.state().phase != Phase::kEvaluating) continue;
    evaluated.push_back(round);
    for (const char* name : {"a", "b", "c"}) play.Do(ReportStored{name, round});
  }
  EXPECT_EQ(evaluated, (std::vector<uint64_t>{2, 4, 5}));
}

TEST(RoundEngine, WhereNothingIsHeldOutNobodyIsAskedToEvaluate) {
  EngineConfig config = Config();
  config.rounds = 1;
  config.evaluates = false;
  Play play(config);
  play.Connect("ab");
  EXPECT_EQ(play.Do(ClientConnected{"c"}),
            (Lines{"open 1.1 abc of abc need 3", "train a 1.1", "train b 1.1", "train c 1.1"}));
  for (const char* name : {"a", "b", "c"}) play.Do(UpdateStored{name, 1, 1});
  EXPECT_EQ(play.Do(Published{}), Lines{"finished"});
}

TEST(RoundEngine, ThreeAbandonedAttemptsInARowFailTheJob) {
  Play play;
  play.OpenFirst();
  play.After(seconds(100));
  play.After(seconds(100));
  EXPECT_EQ(play.After(seconds(100)).back(),
            "failed: round 1 was abandoned 3 times in a row; the last attempt: the deadline passed "
            "with 0 of 2 updates; missing: a, b, c");
}

// The operator reads who refused and why; the other clients do not. The first refusals are not
// among the three.
TEST(RoundEngine, WhatEndedTheLastAttemptNamesThoseWhoFailed) {
  Play play;
  play.OpenFirst();
  for (uint32_t attempt = 1; attempt <= 4; ++attempt) {
    play.Do(TaskFailed{"a", 1, attempt, "refused: policy: job.min-clients: got 2", true});
    const std::vector<Action> actions =
        play.engine.Step(TaskFailed{"b", 1, attempt, "refused: policy: jobs", true}, play.now);
    for (const Action& action : actions) {
      const auto* const revoke = std::get_if<Revoke>(&action);
      if (revoke == nullptr) continue;
      EXPECT_EQ(revoke->reason, "round 1 abandoned: 2 of 3 clients failed");
    }
    const auto* const end = std::get_if<EndJob>(&actions.back());
    ASSERT_EQ(end != nullptr, attempt == 4);
    if (end == nullptr) continue;
    EXPECT_EQ(end->reason,
              "round 1 was abandoned 3 times in a row; the last attempt: 2 of 3 clients failed; a "
              "refused: policy: job.min-clients: got 2; b refused: policy: jobs");
  }
}

TEST(RoundEngine, WhatEndedTheLastAttemptIsKnownAfterARestart) {
  EngineState stored;
  stored.abandoned = 3;
  stored.attempt = 3;
  stored.ended = "a refused";
  Play play(Config(), stored);
  EXPECT_EQ(play.After(seconds(1)).back(),
            "failed: round 1 was abandoned 3 times in a row; the last attempt: a refused");
}

// One of eight that refuses every attempt ends one of them and no more.
TEST(RoundEngine, WhoRefusedAnAttemptSitsTheRoundOut) {
  EngineConfig config = Config();
  config.evaluates = false;
  config.min_available = 8;
  Play play(config);
  play.Connect("abcdefgh");
  play.Do(TaskFailed{"c", 1, 1, "refused: ROSTER_SELF", true});
  EXPECT_EQ(play.Do(MaskingFailed{"no nonce of c", true, false})[0],
            "abandon: no nonce of c; c refused: ROSTER_SELF");
  EXPECT_EQ(play.engine.state().cohort.size(), 7u);
  EXPECT_FALSE(play.engine.state().cohort.contains("c"));
  EXPECT_EQ(play.engine.state().abandoned, 0);
  for (const char* name : {"a", "b", "d", "e", "f", "g", "h"}) play.Do(UpdateStored{name, 1, 2});
  play.Do(Published{});
  EXPECT_TRUE(play.engine.state().cohort.contains("c")) << "the next round asks it again";
}

// One after the other, each an attempt: eight clients, three of which their owners hold back.
TEST(RoundEngine, AnAttemptThatClientsRefusedIsNoneOfThoseThatEndTheJob) {
  EngineConfig config = Config();
  config.evaluates = false;
  config.min_available = 8;
  Play play(config);
  play.Connect("abcdefgh");
  uint32_t attempt = 1;
  for (const char* name : {"c", "e", "f"}) {
    ASSERT_EQ(play.engine.state().phase, Phase::kOpen);
    EXPECT_EQ(play.engine.state().attempt, attempt);
    play.Do(TaskFailed{name, 1, attempt++, "refused: ROSTER_SELF", true});
    play.Do(MaskingFailed{"no nonce", true, false});
    EXPECT_EQ(play.engine.state().abandoned, 0);
  }
  EXPECT_EQ(play.engine.state().cohort, (std::set<std::string>{"a", "b", "d", "g", "h"}));
  for (const char* name : {"a", "b", "d", "g", "h"}) play.Do(UpdateStored{name, 1, 4});
  play.Do(Published{});
  EXPECT_EQ(play.engine.state().round, 1u);
}

// Whom the round needs is asked again, and refuses again: that counts, as does what somebody else
// did beside a refusal.
TEST(RoundEngine, RefusalsEndTheJobOnceTooFewAreLeft) {
  EngineConfig config = Config();
  config.evaluates = false;
  Play play(config);
  play.Connect("abc");
  Lines last;
  for (uint32_t attempt = 1; play.engine.state().phase == Phase::kOpen; ++attempt) {
    ASSERT_LE(attempt, 6u);
    play.Do(TaskFailed{"a", 1, attempt, "refused: policy", true});
    last = play.Do(TaskFailed{"b", 1, attempt, "refused: policy", true});
  }
  EXPECT_EQ(last.back(),
            "failed: round 1 was abandoned 3 times in a row; the last attempt: 2 of 3 clients "
            "failed; a, b refused: policy");
}

TEST(RoundEngine, AFailureBesideARefusalCounts) {
  EngineConfig config = Config();
  config.evaluates = false;
  config.min_available = 8;
  Play play(config);
  play.Connect("abcdefgh");
  play.Do(TaskFailed{"c", 1, 1, "refused: ROSTER_SELF", true});
  play.Do(TaskFailed{"d", 1, 1, "gave up: out_of_memory"});
  play.Do(MaskingFailed{"no nonce", true, false});
  EXPECT_EQ(play.engine.state().abandoned, 1);
}

// Others' names are for the operator.
TEST(RoundEngine, ClientsHearOfAFailedAttemptWithoutNames) {
  Play play;
  play.OpenFirst();
  const MaskingFailed failed{"group 2 (b, c): DEADLINE", true, false, "1 of 2 groups"};
  int told = 0;
  for (const Action& action : play.engine.Step(failed, play.now)) {
    if (const auto* abandoned = std::get_if<AbandonRound>(&action)) {
      EXPECT_EQ(abandoned->reason, failed.reason);
    } else if (const auto* revoked = std::get_if<Revoke>(&action)) {
      EXPECT_EQ(revoked->reason, "round 1 abandoned: 1 of 2 groups");
      ++told;
    }
  }
  EXPECT_EQ(told, 3);
}

// Where so many refuse, what they were shown is at fault; and a round is not made impossible.
TEST(RoundEngine, ManyWhoRefuseOrWhomTheRoundNeedsAreAskedAgain) {
  for (const bool many : {true, false}) {
    EngineConfig config = Config();
    config.evaluates = false;
    config.min_available = 8;
    config.min_clients = many ? 2 : 8;
    Play play(config);
    play.Connect("abcdefgh");
    for (const char* name : {"a", "b", "c"}) {
      if (many || name[0] == 'a') play.Do(TaskFailed{name, 1, 1, "refused: PARAMS", true});
    }
    if (many) play.Do(MaskingFailed{"no nonce", true, false});
    EXPECT_EQ(play.engine.state().attempt, 2u);
    EXPECT_EQ(play.engine.state().cohort.size(), 8u);
  }
}

// Or whom it leaves out would be drawn with another chance than the accountant takes.
TEST(RoundEngine, ASecretDrawIsFromAllWhoeverRefused) {
  EngineConfig config = Config();
  config.evaluates = false;
  config.min_available = 8;
  std::vector<size_t> drawn_from;
  config.draw = [&](std::vector<std::string> all, uint64_t, uint32_t) {
    drawn_from.push_back(all.size());
    return all;
  };
  Play play(config);
  play.Connect("abcdefgh");
  play.Do(TaskFailed{"c", 1, 1, "refused: PARAMS", true});
  play.Do(MaskingFailed{"no nonce of c", true, false});
  EXPECT_EQ(drawn_from, (std::vector<size_t>{8, 8}));
}

// Of an attempt that is over too, as a restarted coordinator reads what is stored.
TEST(RoundEngine, ARefusalOfAnAttemptThatIsOverCounts) {
  EngineConfig config = Config();
  config.evaluates = false;
  config.min_available = 8;
  Play play(config);
  play.Connect("abcdefgh");
  play.Do(MaskingFailed{"no nonce", true, false});
  play.Do(TaskFailed{"c", 1, 1, "refused: PARAMS", true});
  EXPECT_TRUE(play.engine.state().cohort.contains("c"));
  play.Do(MaskingFailed{"no nonce", true, false});
  EXPECT_FALSE(play.engine.state().cohort.contains("c"));
}

TEST(RoundEngine, WhatAClientSaysDoesNotLookLikeAnothersWord) {
  const std::string text = FailuresText({{"a", "gave up: failed: no; b refused: policy"},
                                         {"b", "gave up: failed: 2"},
                                         {"c", "gave up: failed: 3"},
                                         {"d", "refused: ROSTER_SELF"}});
  EXPECT_EQ(
      text,
      "; d refused: ROSTER_SELF; a gave up: failed: no, b refused: policy; b gave up: failed: 2; "
      "and others");
  EXPECT_EQ(FailuresText({{"a", "gave up: failed: no; b refused: policy"}}),
            "; a gave up: failed: no, b refused: policy");
}

TEST(RoundEngine, ARosterThatWasTooSmallIsRefusedForThisAttemptAlone) {
  EXPECT_TRUE(IsRefusal(secagg::Reason::kRosterSmall));
  EXPECT_FALSE(IsLasting(secagg::Reason::kRosterSmall));
  EXPECT_TRUE(IsLasting(secagg::Reason::kPolicy));
}

TEST(RoundEngine, WhatItWaitsForIsASentenceInEveryPhase) {
  Play play;
  play.Connect("a");
  EXPECT_EQ(play.engine.Waiting(seconds(748)), "waiting: 1 of 3 nodes, 00:04:12 left");
  play.Connect("bc");
  EXPECT_EQ(play.engine.Waiting(seconds(1)), "waiting: 0 of 3 evaluations, 00:01:39 left");
  for (const char* name : {"a", "b", "c"}) play.Do(ReportStored{name, 0});
  play.Do(kA);
  EXPECT_EQ(play.engine.Waiting(seconds(999)), "waiting: 1 of 3 updates, 00:00:00 left");
}

// privacy.min-separation: a client whose update counted sits out; one whose did not may come again.
TEST(RoundEngine, ACountedClientRestsBeforeItsNextRound) {
  EngineConfig config = Config();
  config.rounds = 3;
  config.clients_per_round = 2;
  config.separation = 2;
  EngineState stored;
  stored.round = 1;
  stored.evaluated = true;
  stored.expected = {"a", "b", "c"};
  stored.counted = {{"a", 1}, {"c", 1}};
  Play play(config, stored);
  play.Connect("abc");
  EXPECT_EQ(play.engine.state().phase, Phase::kWaiting);
  EXPECT_EQ(play.engine.Waiting(play.now),
            "waiting: 1 of 2 nodes that may take part again, 00:16:40 left");
  EXPECT_EQ(play.Do(ClientConnected{"d"}),
            (Lines{"open 2.1 bd of abcd need 2", "train b 2.1", "train d 2.1"}));
  play.Do(UpdateStored{"b", 2, 1});
  play.Do(TaskFailed{"d", 2, 1});  // abandoned: nothing was released
  EXPECT_EQ(play.engine.state().attempt, 2u);
  EXPECT_EQ(play.engine.state().cohort, (std::set<std::string>{"b", "d"}));
  play.Do(UpdateStored{"b", 2, 2});
  play.Do(UpdateStored{"d", 2, 2});
  EXPECT_EQ(play.Do(Published{}),
            (Lines{"open 3.1 ac of abcd need 2", "train a 3.1", "train c 3.1"}));
}

TEST(RoundEngine, WithoutRestedClientsTheJobEndsWithThatReason) {
  EngineConfig config = Config();
  config.separation = 3;
  EngineState stored;
  stored.round = 1;
  stored.evaluated = true;
  stored.expected = {"a", "b", "c"};
  stored.counted = {{"a", 1}, {"b", 1}, {"c", 1}};
  Play play(config, stored);
  play.Connect("abc");
  EXPECT_EQ(play.engine.Waiting(play.now),
            "waiting: 0 of 2 nodes that may take part again, 00:16:40 left");
  EXPECT_EQ(play.After(seconds(1000)),
            (Lines{"failed: round 2 could not start: 0 of 2 nodes had sat out 2 rounds "
                   "(privacy.min-separation) after 00:16:40"}));
}

// ---- a client whose update every round needs

EngineConfig Trusting() {
  EngineConfig config = Config();
  config.trusted = "t";
  config.min_available = 0;
  config.clients_per_round = 2;
  config.evaluates = false;
  return config;
}

TEST(TrustedClient, IsWaitedForAndWorksBesideTheCohort) {
  Play play(Trusting());
  play.Connect("abc");
  EXPECT_EQ(play.engine.state().phase, Phase::kWaiting);
  EXPECT_EQ(play.engine.Waiting(play.now),
            "waiting: robust.trusted-client \"t\" to connect, 00:16:40 left");
  const Lines lines = play.Do(ClientConnected{"t"});
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_TRUE(lines[0].ends_with("t of abct need 3")) << lines[0];
  EXPECT_EQ(lines[3], "train t 1.1");
}

TEST(TrustedClient, ThatNeverConnectsIsTheReasonTheJobEnds) {
  Play play(Trusting());
  play.Connect("abc");
  EXPECT_EQ(play.After(seconds(1000)),
            (Lines{"failed: round 1 could not start: robust.trusted-client \"t\" was not connected "
                   "after 00:16:40"}));
}

TEST(TrustedClient, ClosesTheRoundOnlyWithItsUpdate) {
  EngineConfig config = Trusting();
  config.over_selection = 2;  // three invited, two of them and the trusted one needed
  Play play(config);
  play.Connect("abct");
  ASSERT_EQ(play.engine.state().cohort.size(), 4u);
  for (const char* name : {"a", "b", "c"}) EXPECT_EQ(play.Do(UpdateStored{name, 1, 1}), Lines{});
  EXPECT_EQ(play.Do(UpdateStored{"t", 1, 1}), (Lines{"close 1 with abct"}));
}

TEST(TrustedClient, WithoutItsUpdateTheAttemptIsAbandonedWithThatReason) {
  Play late(Trusting());
  late.Connect("abt");
  for (const char* name : {"a", "b"}) late.Do(UpdateStored{name, 1, 1});
  EXPECT_EQ(late.After(seconds(100))[0],
            "abandon: the deadline passed without the update of robust.trusted-client \"t\"");
  EXPECT_EQ(late.engine.state().attempt, 2u);
  Play failing(Trusting());
  failing.Connect("abt");
  for (const char* name : {"a", "b"}) failing.Do(UpdateStored{name, 1, 1});
  EXPECT_EQ(failing.Do(TaskFailed{"t", 1, 1})[0],
            "abandon: robust.trusted-client \"t\" failed, and no other update says what to trust");
}

// min_clients counts the others: one of them and the trusted one are one too few.
TEST(TrustedClient, IsNotCountedAmongTheFewest) {
  Play play(Trusting());
  play.Connect("abt");
  for (const char* name : {"a", "t"}) play.Do(UpdateStored{name, 1, 1});
  EXPECT_EQ(play.After(seconds(100))[0],
            "abandon: the deadline passed with 2 of 3 updates; missing: b");
}

TEST(TrustedClient, IsStillWaitedForAfterARestart) {
  EngineState stored;
  stored.round = 1;
  stored.evaluated = true;
  stored.expected = {"a", "b", "t"};
  Play play(Trusting(), stored);
  play.Connect("ab");
  EXPECT_EQ(play.After(seconds(11)), Lines{});  // others are not waited for so long
  const Lines lines = play.Do(ClientConnected{"t"});
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines[0], "open 2.1 abt of abt need 3");
}

}  // namespace
}  // namespace rivulet
