#include "client/session/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rivulet {
namespace {

using Actions = std::vector<SessionAction>;

template <typename T>
std::vector<T> All(const Actions& actions) {
  std::vector<T> found;
  for (const SessionAction& action : actions) {
    if (const T* match = std::get_if<T>(&action)) found.push_back(*match);
  }
  return found;
}
template <typename T>
size_t Count(const Actions& actions) {
  return All<T>(actions).size();
}

Session NewSession(SessionMemory memory = {}, double random = 0.5) {
  return Session({}, std::move(memory), [random] { return random; });
}

Assignment TaskOf(uint64_t round, uint64_t epoch = 1) {
  Assignment task;
  task.key = {"job-1", round, 1};
  task.epoch = epoch;
  return task;
}

Outcome TrainedOf(const TaskKey& key) {
  Outcome outcome;
  outcome.kind = Outcome::Kind::kTrained;
  outcome.key = key;
  outcome.sha256 = std::string(64, 'a');
  return outcome;
}

void Connect(Session& session, uint64_t epoch = 1) {
  session.Step(Started{});
  session.Step(Welcomed{epoch});
}

TEST(Session, WorkIsRememberedBeforeItStartsAndKeptBeforeItIsSent) {
  Session session = NewSession();
  Connect(session);
  const Actions begun = session.Step(Assigned{TaskOf(1)});
  ASSERT_EQ(begun.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<RememberStart>(begun[0]));
  EXPECT_TRUE(std::holds_alternative<StartWork>(begun[1]));
  const Actions ended = session.Step(WorkEnded{TaskOf(1).key, TrainedOf(TaskOf(1).key)});
  ASSERT_EQ(ended.size(), 2u);
  EXPECT_TRUE(std::holds_alternative<Keep>(ended[0]));
  EXPECT_TRUE(std::holds_alternative<Deliver>(ended[1]));
}

TEST(Session, WhoSaidHelloOrSentAnOutcomeNeedsNoHeartbeatBesideIt) {
  Session session = NewSession();
  Connect(session);
  EXPECT_EQ(Count<Beat>(session.Step(TimerFired{Timer::kHeartbeat})), 0u);
  EXPECT_EQ(Count<Beat>(session.Step(TimerFired{Timer::kHeartbeat})), 1u);
  session.Step(Assigned{TaskOf(1)});
  EXPECT_EQ(Count<Beat>(session.Step(TimerFired{Timer::kHeartbeat})), 1u);
  session.Step(WorkEnded{TaskOf(1).key, TrainedOf(TaskOf(1).key)});
  const Actions due = session.Step(TimerFired{Timer::kHeartbeat});
  EXPECT_EQ(Count<Beat>(due), 0u);
  EXPECT_EQ(Count<StartTimer>(due), 1u);
  EXPECT_EQ(Count<Beat>(session.Step(TimerFired{Timer::kHeartbeat})), 1u);
}

TEST(Session, ARepeatedTaskIsWorkedOnOnce) {
  Session session = NewSession();
  Connect(session);
  EXPECT_EQ(Count<StartWork>(session.Step(Assigned{TaskOf(1)})), 1u);
  EXPECT_TRUE(session.Step(Assigned{TaskOf(1)}).empty());
}

TEST(Session, ATaskThatComesBackAfterALostAcknowledgementIsAnsweredFromMemory) {
  Session session = NewSession();
  Connect(session);
  session.Step(Assigned{TaskOf(1)});
  session.Step(WorkEnded{TaskOf(1).key, TrainedOf(TaskOf(1).key)});
  session.Step(StreamLost{absl::UnavailableError("reset")});
  session.Step(TimerFired{Timer::kReconnect});
  EXPECT_EQ(Count<Deliver>(session.Step(Welcomed{1})), 1u);
  const Actions again = session.Step(Assigned{TaskOf(1)});
  EXPECT_EQ(Count<StartWork>(again), 0u);
  EXPECT_EQ(Count<Deliver>(again), 0u);  // one is under way
  EXPECT_EQ(Count<Forget>(session.Step(Reported{TaskOf(1).key, absl::OkStatus()})), 1u);
}

TEST(Session, ARestartedAgentReportsWhatItHadKeptOnce) {
  SessionMemory memory;
  memory.outcomes = {TrainedOf({"job-1", 4, 1})};
  Session session = NewSession(memory);
  session.Step(Started{});
  EXPECT_EQ(Count<Deliver>(session.Step(Welcomed{1})), 1u);
  EXPECT_EQ(Count<Forget>(session.Step(Reported{{"job-1", 4, 1}, absl::OkStatus()})), 1u);
  session.Step(StreamLost{absl::UnavailableError("reset")});
  session.Step(TimerFired{Timer::kReconnect});
  EXPECT_EQ(Count<Deliver>(session.Step(Welcomed{1})), 0u);
}

TEST(Session, ATaskThatKilledTheAgentThreeTimesIsGivenUp) {
  SessionMemory memory;
  memory.starts[{"job-1", 1, 1}] = 3;
  Session session = NewSession(memory);
  Connect(session);
  const Actions actions = session.Step(Assigned{TaskOf(1)});
  EXPECT_EQ(Count<StartWork>(actions), 0u);
  ASSERT_EQ(Count<Report>(actions), 1u);
  EXPECT_EQ(All<Report>(actions)[0].outcome.code, "lost");
}

TEST(Session, OnlyDeathsCountAsDeaths) {
  SessionMemory memory;
  memory.starts[TaskOf(1).key] = 2;
  Session session = NewSession(memory);
  session.Step(Started{});
  for (int flap = 0; flap < 5; ++flap) {
    session.Step(Welcomed{1});
    ASSERT_EQ(Count<StartWork>(session.Step(Assigned{TaskOf(1)})), 1u) << flap;
    session.Step(StreamLost{absl::UnavailableError("reset")});
    const Actions actions = session.Step(WorkEnded{TaskOf(1).key, std::nullopt});
    ASSERT_EQ(Count<TakeBackStart>(actions), 1u);
    EXPECT_EQ(All<TakeBackStart>(actions)[0].key, TaskOf(1).key);
    EXPECT_EQ(Count<CloseStream>(actions), 0u);
    session.Step(TimerFired{Timer::kReconnect});
  }
}

TEST(Session, ATaskWhoseWayFailedComesAgainOverANewConnection) {
  Session session = NewSession();
  Connect(session);
  session.Step(Assigned{TaskOf(1)});
  EXPECT_EQ(Count<CloseStream>(session.Step(WorkEnded{TaskOf(1).key, std::nullopt})), 1u);
  const Actions lost = session.Step(StreamLost{absl::CancelledError("closed")});
  ASSERT_EQ(Count<StartTimer>(lost), 1u);
  EXPECT_EQ(All<StartTimer>(lost)[0].timer, Timer::kReconnect);
  session.Step(TimerFired{Timer::kReconnect});
  session.Step(Welcomed{1});
  EXPECT_EQ(Count<StartWork>(session.Step(Assigned{TaskOf(1)})), 1u);
}

TEST(Session, ACoordinatorOfAnEarlierEpochIsLeft) {
  SessionMemory memory;
  memory.epoch = 7;
  Session session = NewSession(memory);
  session.Step(Started{});
  const Actions actions = session.Step(Welcomed{6});
  EXPECT_EQ(Count<CloseStream>(actions), 1u);
  ASSERT_EQ(Count<StartTimer>(actions), 1u);
  EXPECT_GE(All<StartTimer>(actions)[0].after, std::chrono::seconds(60));
  EXPECT_TRUE(session.Step(StreamLost{absl::CancelledError("closed")}).empty());
}

TEST(Session, ALargerEpochIsRememberedBeforeAnythingElse) {
  Session session = NewSession();
  session.Step(Started{});
  const Actions actions = session.Step(Welcomed{3});
  ASSERT_FALSE(actions.empty());
  EXPECT_TRUE(std::holds_alternative<RememberEpoch>(actions[0]));
  EXPECT_EQ(Count<StartWork>(session.Step(Assigned{TaskOf(1, 2)})), 0u);
}

TEST(Session, WaitsAreUniformBelowADoublingRoofOfOneMinute) {
  Session session = NewSession({}, 0.999999);
  session.Step(Started{});
  std::vector<int64_t> waits;
  for (int failure = 0; failure < 10; ++failure) {
    const Actions actions = session.Step(StreamLost{absl::UnavailableError("refused")});
    waits.push_back(All<StartTimer>(actions)[0].after.count());
    session.Step(TimerFired{Timer::kReconnect});
  }
  // Just below 0.5 s * 2^n, at most 60 s.
  EXPECT_EQ(waits, (std::vector<int64_t>{999, 1999, 3999, 7999, 15999, 31999, 59999, 59999, 59999,
                                         59999}));
}

TEST(Session, ACertificateThatIsRefusedEndsTheAgentWithTheReason) {
  Session session = NewSession();
  session.Step(Started{});
  const Actions actions =
      session.Step(StreamLost{absl::UnauthenticatedError("certificate: revoked")});
  ASSERT_EQ(Count<Exit>(actions), 1u);
  EXPECT_EQ(ExitCodeOf(All<Exit>(actions)[0].status), ExitCode::kConnection);
}

TEST(Session, ARefusedTaskIsReportedWithItsCode) {
  Session session = NewSession();
  Connect(session);
  session.Step(Assigned{TaskOf(1)});
  Outcome refused;
  refused.key = TaskOf(1).key;
  refused.code = "refused_policy";
  const Actions actions = session.Step(WorkEnded{refused.key, refused});
  ASSERT_EQ(Count<Report>(actions), 1u);
  EXPECT_EQ(All<Report>(actions)[0].outcome.code, "refused_policy");
}

TEST(Session, AFailuresTextIsCutBetweenCharacters) {
  Session session = NewSession();
  Connect(session);
  session.Step(Assigned{TaskOf(1)});
  session.Step(WorkEnded{TaskOf(1).key, TrainedOf(TaskOf(1).key)});
  const std::string start(999, 'a');
  const Actions actions =
      session.Step(Reported{TaskOf(1).key, absl::InvalidArgumentError(start + "\xc3\xa9")});
  ASSERT_EQ(Count<Report>(actions), 1u);
  EXPECT_EQ(All<Report>(actions)[0].outcome.text, start);
  EXPECT_EQ(All<Keep>(actions)[0].outcome.text, start);
}

TEST(Session, AnUpdateRefusedForWhatItHoldsBecomesAFailure) {
  Session session = NewSession();
  Connect(session);
  session.Step(Assigned{TaskOf(1)});
  session.Step(WorkEnded{TaskOf(1).key, TrainedOf(TaskOf(1).key)});
  const Actions actions = session.Step(Reported{TaskOf(1).key, absl::InvalidArgumentError("NaN")});
  ASSERT_EQ(Count<Report>(actions), 1u);
  EXPECT_EQ(All<Report>(actions)[0].outcome.code, "bad_update");
}

TEST(Session, AFullDiskAtTheCoordinatorIsTriedAgainLater) {
  Session session = NewSession();
  Connect(session);
  session.Step(Assigned{TaskOf(1)});
  session.Step(WorkEnded{TaskOf(1).key, TrainedOf(TaskOf(1).key)});
  const Actions refused = session.Step(Reported{
      TaskOf(1).key, Refuse(absl::StatusCode::kResourceExhausted, "disk", Remedy::kRetryLater)});
  ASSERT_EQ(Count<StartTimer>(refused), 1u);
  EXPECT_EQ(Count<Deliver>(session.Step(TimerFired{Timer::kRetry})), 1u);
}

TEST(Session, AnUpdateForAClosedRoundIsForgotten) {
  Session session = NewSession();
  Connect(session);
  session.Step(Assigned{TaskOf(1)});
  session.Step(WorkEnded{TaskOf(1).key, TrainedOf(TaskOf(1).key)});
  const Actions actions = session.Step(Reported{
      TaskOf(1).key, Refuse(absl::StatusCode::kFailedPrecondition, "closed", Remedy::kResync)});
  EXPECT_EQ(Count<Forget>(actions), 1u);
  EXPECT_EQ(Count<StartTimer>(actions), 0u);
}

TEST(Session, ACancelledTaskIsAbortedAndTheNextOneStarts) {
  Session session = NewSession();
  Connect(session);
  session.Step(Assigned{TaskOf(1)});
  session.Step(Assigned{TaskOf(2)});
  EXPECT_EQ(Count<AbortWork>(session.Step(Cancelled{TaskOf(1).key, "round closed"})), 1u);
  const Actions actions = session.Step(WorkEnded{TaskOf(1).key, TrainedOf(TaskOf(1).key)});
  EXPECT_EQ(Count<Deliver>(actions), 0u);
  EXPECT_EQ(Count<Keep>(actions), 0u);
  ASSERT_EQ(Count<Forget>(actions), 1u);  // of the file that was written meanwhile
  EXPECT_EQ(All<Forget>(actions)[0].key, TaskOf(1).key);
  ASSERT_EQ(Count<StartWork>(actions), 1u);
  EXPECT_EQ(All<StartWork>(actions)[0].task.key.round, 2u);
}

Assignment MaskedTaskOf(uint64_t round) {
  Assignment task = TaskOf(round);
  task.masking = "parameters";
  return task;
}

TEST(Session, KeysAreSaidAtOnceAndAgainWheneverTheTaskComesAgain) {
  Session session = NewSession();
  Connect(session);
  const Actions first = session.Step(Assigned{MaskedTaskOf(1)});
  ASSERT_EQ(Count<JoinMasking>(first), 1u);
  EXPECT_TRUE(std::holds_alternative<JoinMasking>(first[0]));  // before the work starts
  EXPECT_EQ(Count<StartWork>(first), 1u);
  const Actions waiting = session.Step(Assigned{MaskedTaskOf(2)});
  EXPECT_EQ(Count<JoinMasking>(waiting), 1u);  // the others do not wait for task 1
  EXPECT_EQ(Count<StartWork>(waiting), 0u);
  session.Step(StreamLost{absl::UnavailableError("reset")});
  session.Step(TimerFired{Timer::kReconnect});
  session.Step(Welcomed{1});
  const Actions again = session.Step(Assigned{MaskedTaskOf(1)});
  EXPECT_EQ(Count<JoinMasking>(again), 1u);
  EXPECT_EQ(Count<StartWork>(again), 0u);
  EXPECT_EQ(Count<JoinMasking>(session.Step(Assigned{TaskOf(3)})), 0u);
}

TEST(Session, MessagesOfMasksAreAnsweredBesideTheWorkAndAfterIt) {
  Session session = NewSession();
  Connect(session);
  const TaskKey key = TaskOf(1).key;
  session.Step(Assigned{MaskedTaskOf(1)});
  const Actions during = session.Step(MaskingArrived{key, "roster", {"certificate"}});
  ASSERT_EQ(Count<AnswerMasking>(during), 1u);
  EXPECT_EQ(All<AnswerMasking>(during)[0].message.bytes, "roster");
  session.Step(WorkEnded{key, TrainedOf(key)});
  session.Step(Reported{key, absl::OkStatus()});
  EXPECT_EQ(Count<AnswerMasking>(session.Step(MaskingArrived{key, "survivors", {}})), 1u);
  session.Step(StreamLost{absl::UnavailableError("reset")});
  EXPECT_TRUE(session.Step(MaskingArrived{key, "late", {}}).empty());
}

TEST(Session, ARefusalOfMasksEndsTheWorkAndIsReportedAtOnce) {
  Session session = NewSession();
  Connect(session);
  const TaskKey key = TaskOf(1).key;
  session.Step(Assigned{MaskedTaskOf(1)});
  const Actions refused = session.Step(MaskingRefused{key, "refused_policy", "why", "abort"});
  EXPECT_EQ(Count<AbortWork>(refused), 1u);
  EXPECT_EQ(Count<Keep>(refused), 1u);
  ASSERT_EQ(Count<Report>(refused), 1u);
  EXPECT_EQ(All<Report>(refused)[0].outcome.code, "refused_policy");
  EXPECT_EQ(All<Report>(refused)[0].outcome.text, "why");
  EXPECT_EQ(Count<SendMasking>(refused), 0u);
  const Actions ended = session.Step(WorkEnded{key, std::nullopt});
  EXPECT_EQ(Count<Forget>(ended), 0u);  // the report is not acknowledged yet
  EXPECT_EQ(Count<CloseStream>(ended), 0u);
  EXPECT_EQ(Count<Forget>(session.Step(Reported{key, absl::OkStatus()})), 1u);
}

TEST(Session, ARefusalAfterTheUpdateWasDeliveredIsSaidInTheProtocolsOwnWords) {
  Session session = NewSession();
  Connect(session);
  const TaskKey key = TaskOf(1).key;
  session.Step(Assigned{MaskedTaskOf(1)});
  session.Step(WorkEnded{key, TrainedOf(key)});
  session.Step(Reported{key, absl::OkStatus()});
  const Actions refused = session.Step(MaskingRefused{key, "failed", "why", "abort"});
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(All<SendMasking>(refused)[0].bytes, "abort");
}

TEST(Session, ACancelEndsTheMasksToo) {
  Session session = NewSession();
  Connect(session);
  session.Step(Assigned{MaskedTaskOf(1)});
  EXPECT_EQ(Count<LeaveMasking>(session.Step(Cancelled{TaskOf(1).key, "round closed"})), 1u);
  TaskKey evaluation = TaskOf(1).key;
  evaluation.attempt = 0;
  EXPECT_EQ(Count<LeaveMasking>(session.Step(Cancelled{evaluation, "over"})), 0u);
}

TEST(Session, TermLetsTheWorkInHandEndAndTakesNoMore) {
  Session session = NewSession();
  Connect(session);
  session.Step(Assigned{TaskOf(1)});
  EXPECT_EQ(Count<Exit>(session.Step(TermRequested{})), 0u);
  EXPECT_EQ(Count<StartWork>(session.Step(Assigned{TaskOf(2)})), 0u);
  session.Step(WorkEnded{TaskOf(1).key, TrainedOf(TaskOf(1).key)});
  EXPECT_EQ(Count<Exit>(session.Step(Reported{TaskOf(1).key, absl::OkStatus()})), 1u);
}

TEST(Session, WorkThatOutlastsTheDrainIsAbortedAndItsStartTakenBack) {
  Session session = NewSession();
  Connect(session);
  session.Step(Assigned{TaskOf(1)});
  session.Step(TermRequested{});
  const Actions actions = session.Step(TimerFired{Timer::kDrain});
  ASSERT_EQ(actions.size(), 3u);
  EXPECT_TRUE(std::holds_alternative<AbortWork>(actions[0]));
  EXPECT_TRUE(std::holds_alternative<TakeBackStart>(actions[1]));
  EXPECT_TRUE(std::holds_alternative<Exit>(actions[2]));
}

TEST(Session, TermOfAnIdleAgentEndsItAtOnce) {
  Session session = NewSession();
  Connect(session);
  const Actions actions = session.Step(TermRequested{});
  ASSERT_EQ(Count<Exit>(actions), 1u);
  EXPECT_TRUE(All<Exit>(actions)[0].status.ok());
}

TEST(Session, ADrainedCoordinatorIsLeftAloneForAsLongAsItSaid) {
  Session session = NewSession();
  Connect(session);
  session.Step(Drained{std::chrono::seconds(5)});
  const Actions actions = session.Step(StreamLost{absl::UnavailableError("stops")});
  ASSERT_EQ(Count<StartTimer>(actions), 1u);
  EXPECT_GE(All<StartTimer>(actions)[0].after, std::chrono::seconds(5));
}

}  // namespace
}  // namespace rivulet
