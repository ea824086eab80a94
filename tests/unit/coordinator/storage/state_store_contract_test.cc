// Every StateStore keeps this contract; a new row at the end joins by itself.
#include <gtest/gtest.h>

#include <thread>
#include <tuple>

#include "coordinator/storage/state_store.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

using Make = std::unique_ptr<StateStore> (*)();

std::unique_ptr<StateStore> Sqlite() { return std::move(*OpenSqliteStateStore(Scratch())); }

struct StateStoreKind {
  const char* name;
  Make make;
};

// Every field of a row, to compare and to print.
std::string TextOf(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += name + ",";
  return text;
}
auto FieldsOf(const JobRecord& r) {
  return std::tuple(r.id, r.name, r.submit_token, r.document, static_cast<int>(r.state),
                    r.exit_code, r.reason, r.submitted_ms, r.ended_ms, r.stop_now, r.waiting_ms);
}
auto FieldsOf(const RoundFigures& f) {
  return std::tuple(f.loss, f.examples, f.tokens, f.bytes_up, f.protocol_bytes_up, f.bytes_down,
                    f.bias, f.milliseconds, TextOf(f.left_out));
}
auto FieldsOf(const RoundRecord& r) {
  return std::tuple(r.job, r.round, r.attempt, static_cast<int>(r.state), TextOf(r.eligible),
                    TextOf(r.cohort), r.needed, TextOf(r.counted), r.remaining_ms, r.opened_ms,
                    r.reason, FieldsOf(r.figures));
}
auto FieldsOf(const UpdateRecord& r) {
  return std::tuple(r.job, r.round, r.attempt, r.client, r.sha256, r.bytes, r.weight, r.examples,
                    r.tokens, r.steps, r.loss, r.grad_norm);
}
auto FieldsOf(const ModelRecord& r) {
  return std::tuple(r.job, r.round, r.parent_sha256, r.sha256, r.bytes, r.state_hash,
                    r.optimizer_sha256, r.log_sha256, r.log_bytes, r.log_from);
}
auto FieldsOf(const EvaluationRecord& r) {
  return std::tuple(r.job, r.round, r.done, TextOf(r.clients), r.remaining_ms);
}
auto FieldsOf(const EvaluationReportRecord& r) {
  return std::tuple(r.job, r.round, r.client, r.loss_fixed, r.counted, r.correct);
}
auto FieldsOf(const FailureRecord& r) {
  return std::tuple(r.job, r.round, r.attempt, r.client, r.code, r.text);
}
auto FieldsOf(const SecretRecord& r) {
  return std::tuple(r.job, r.round, r.attempt, r.name, r.bytes);
}
auto FieldsOf(const LedgerRecord& r) { return std::tuple(r.job, r.round, r.attempt, r.row); }
template <typename Row>
auto FieldsOf(const std::vector<Row>& rows) {
  std::vector<decltype(FieldsOf(rows.front()))> fields;
  for (const Row& row : rows) fields.push_back(FieldsOf(row));
  return fields;
}

class StateStoreContract : public testing::TestWithParam<StateStoreKind> {
 protected:
  JobRecord Job(const std::string& id, const std::string& token = "") {
    JobRecord job;
    job.id = id;
    job.name = "toy";
    job.submit_token = token;
    job.document = "{}";
    job.submitted_ms = 7;
    return job;
  }
  RoundRecord Round(uint64_t round, uint32_t attempt) {
    RoundRecord record;
    record.job = "j";
    record.round = round;
    record.attempt = attempt;
    record.eligible = {"a", "b c", "d"};
    record.cohort = {"a", "b c"};
    record.needed = 2;
    record.remaining_ms = 5000;
    record.opened_ms = 11;
    return record;
  }
  UpdateRecord Update(uint64_t round, uint32_t attempt, const std::string& client) {
    UpdateRecord update;
    update.job = "j";
    update.round = round;
    update.attempt = attempt;
    update.client = client;
    update.sha256 = std::string(64, 'a');
    update.bytes = 10;
    update.weight = 3;
    update.loss = 1.5;
    return update;
  }
  MoveRound Move(uint64_t round, uint32_t attempt, RoundState from, RoundState to) {
    MoveRound move;
    move.job = "j";
    move.round = round;
    move.attempt = attempt;
    move.from = from;
    move.to = to;
    return move;
  }
  absl::StatusCode Commit(const std::vector<Write>& writes) {
    return store_->Commit(writes).code();
  }

  static constexpr auto kOk = absl::StatusCode::kOk;
  static constexpr auto kTaken = absl::StatusCode::kAlreadyExists;
  static constexpr auto kWrong = absl::StatusCode::kFailedPrecondition;
  std::unique_ptr<StateStore> store_ = GetParam().make();
};

TEST_P(StateStoreContract, EpochsOnlyGrow) {
  EXPECT_EQ(*store_->NextEpoch(), 1u);
  EXPECT_EQ(*store_->NextEpoch(), 2u);
}

// No two fields of a row hold the same value: swapped columns show.
TEST_P(StateStoreContract, WhatIsPutIsLoadedFieldByField) {
  const JobRecord job{"j", "name", "token", "{}", JobState::kStopping, 21, "why", 22, 23};
  RoundRecord round{"j", 1,  2, RoundState::kOpen, {"a", "b c", "d"}, {"a", "d"}, 3, {}, 4,
                    5,   "", {}};
  const UpdateRecord update{"j", 1, 2, "a", "sha", 11, 12, 13, 14, 15, 1.5, 2.5};
  const ModelRecord model{"j", 6, "parent", "sha", 7, "hash", "optimizer"};
  const EvaluationRecord evaluation{"j", 8, true, {"a", "d"}, 9};
  const EvaluationReportRecord report{"j", 8, "a", -31, 33, 32};
  const FailureRecord failure{"j", 1, 2, "b c", "out-of-memory", "got 3, want 4"};
  ASSERT_EQ(Commit({PutJob{job}, PutRound{round}, PutUpdate{update}, PutModel{model},
                    PutEvaluation{evaluation}, PutEvaluationReport{report}, PutFailure{failure}}),
            kOk);
  MoveRound close = Move(1, 2, RoundState::kOpen, RoundState::kClosed);
  close.counted = {"a"};
  ASSERT_EQ(Commit({close}), kOk);
  round.state = RoundState::kClosed;
  round.counted = close.counted;

  const StoredState all = *store_->Load();
  EXPECT_EQ(FieldsOf(all.jobs), FieldsOf(std::vector{job}));
  EXPECT_EQ(FieldsOf(all.rounds), FieldsOf(std::vector{round}));
  EXPECT_EQ(FieldsOf(all.updates), FieldsOf(std::vector{update}));
  EXPECT_EQ(FieldsOf(all.models), FieldsOf(std::vector{model}));
  EXPECT_EQ(FieldsOf(all.evaluations), FieldsOf(std::vector{evaluation}));
  EXPECT_EQ(FieldsOf(all.reports), FieldsOf(std::vector{report}));
  EXPECT_EQ(FieldsOf(all.failures), FieldsOf(std::vector{failure}));
}

TEST_P(StateStoreContract, SecretsAreReplacedAndDroppedLedgerRowsNeither) {
  const std::string zeros("\0\xff\0", 3);
  const SecretRecord first{"j", 1, 2, "masking", zeros};
  const SecretRecord second{"j", 1, 2, "masking", "later"};
  const SecretRecord noise{"j", 1, 2, "noise", "seed"};
  const SecretRecord other{"j", 0, 0, "cohort", "draws"};
  const LedgerRecord row{"j", 1, 2, "{\"epsilon\":1}"};
  ASSERT_EQ(Commit({PutJob{Job("j")}, SetSecret{first}, SetSecret{other}, PutLedger{row}}), kOk);
  EXPECT_EQ(FieldsOf(store_->Load()->secrets), FieldsOf(std::vector{other, first}));
  ASSERT_EQ(Commit({SetSecret{second}, SetSecret{noise}}), kOk);
  EXPECT_EQ(FieldsOf(store_->Load()->secrets), FieldsOf(std::vector{other, second, noise}));
  EXPECT_EQ(Commit({DropSecrets{"j", 1, 2}, PutLedger{row}}), kTaken);  // and nothing dropped
  EXPECT_EQ(FieldsOf(store_->Load()->secrets), FieldsOf(std::vector{other, second, noise}));
  ASSERT_EQ(Commit({DropSecrets{"j", 1, 2}}), kOk);
  EXPECT_EQ(FieldsOf(store_->Load()->secrets), FieldsOf(std::vector{other}));
  EXPECT_EQ(FieldsOf(store_->Load()->ledger), FieldsOf(std::vector{row}));
}

TEST_P(StateStoreContract, JobsComeBackInOrderOfSubmission) {
  ASSERT_EQ(Commit({PutJob{Job("z")}}), kOk);
  ASSERT_EQ(Commit({PutJob{Job("a")}}), kOk);
  const StoredState all = *store_->Load();
  ASSERT_EQ(all.jobs.size(), 2u);
  EXPECT_EQ(all.jobs[0].id, "z");
}

TEST_P(StateStoreContract, EveryKeyIsTakenOnce) {
  ASSERT_EQ(Commit({PutJob{Job("j", "t")}, PutRound{Round(1, 1)}, PutUpdate{Update(1, 1, "a")},
                    PutModel{{"j", 0}}, PutEvaluation{{"j", 0}}, PutEvaluationReport{{"j", 0, "a"}},
                    PutFailure{{"j", 1, 1, "a"}}}),
            kOk);
  EXPECT_EQ(Commit({PutJob{Job("j")}}), kTaken);
  EXPECT_EQ(Commit({PutJob{Job("other", "t")}}), kTaken);
  EXPECT_EQ(Commit({PutRound{Round(1, 1)}}), kTaken);
  EXPECT_EQ(Commit({PutUpdate{Update(1, 1, "a")}}), kTaken);
  EXPECT_EQ(Commit({PutModel{{"j", 0}}}), kTaken);
  EXPECT_EQ(Commit({PutEvaluation{{"j", 0}}}), kTaken);
  EXPECT_EQ(Commit({PutEvaluationReport{{"j", 0, "a"}}}), kTaken);
  EXPECT_EQ(Commit({PutFailure{{"j", 1, 1, "a"}}}), kTaken);
  EXPECT_EQ(Commit({PutFailure{{"j", 1, 1, "a", "excluded", "b"}, /*replaces=*/true}}),
            absl::StatusCode::kOk);
  EXPECT_EQ(store_->Load()->failures.size(), 1u);
  EXPECT_EQ(store_->Load()->failures[0].code, "excluded");
}

TEST_P(StateStoreContract, TwoJobsWithoutATokenAreTwoJobs) {
  EXPECT_EQ(Commit({PutJob{Job("j")}}), kOk);
  EXPECT_EQ(Commit({PutJob{Job("k")}}), kOk);
}

TEST_P(StateStoreContract, AFailingWriteUndoesItsWholeTransaction) {
  ASSERT_EQ(Commit({PutJob{Job("j")}, PutRound{Round(1, 1)}}), kOk);
  MoveJob move;
  move.id = "j";
  move.to = JobState::kFinished;
  EXPECT_EQ(Commit({move, PutJob{Job("k")}, PutRound{Round(2, 1)},
                    Move(1, 1, RoundState::kOpen, RoundState::kClosed), PutRound{Round(1, 1)}}),
            kTaken);
  const StoredState all = *store_->Load();
  ASSERT_EQ(all.jobs.size(), 1u);
  EXPECT_EQ(all.jobs[0].state, JobState::kActive);
  ASSERT_EQ(all.rounds.size(), 1u);
  EXPECT_EQ(all.rounds[0].state, RoundState::kOpen);
}

TEST_P(StateStoreContract, AWrongStateIsNamedWithTheOneWanted) {
  ASSERT_EQ(Commit({PutJob{Job("j")}, PutRound{Round(3, 2)}}), kOk);
  const absl::Status status = store_->Commit({Move(3, 2, RoundState::kClosed, RoundState::kDone)});
  EXPECT_EQ(status.code(), kWrong);
  EXPECT_EQ(status.message(), "job j round 3 attempt 2: got state open, want closed");
  EXPECT_EQ(Commit({Move(9, 1, RoundState::kOpen, RoundState::kClosed)}), kWrong);
  MoveJob move;
  move.id = "j";
  move.from = JobState::kStopping;
  EXPECT_EQ(store_->Commit({move}).message(), "job j: got state active, want stopping");
}

TEST_P(StateStoreContract, AJobKeepsHowItIsToStopAndWhatIsLeftOfItsWait) {
  ASSERT_EQ(Commit({PutJob{Job("j")}, PutJob{Job("k")}}), kOk);
  EXPECT_EQ(store_->Load()->jobs[0].waiting_ms, -1);
  MoveJob stop;
  stop.id = "j";
  stop.to = JobState::kStopping;
  ASSERT_EQ(Commit({stop}), kOk);
  EXPECT_FALSE(store_->Load()->jobs[0].stop_now);
  stop.from = JobState::kStopping;
  stop.stop_now = true;
  ASSERT_EQ(Commit({stop, SetWaiting{"j", 1234}}), kOk);
  const StoredState all = *store_->Load();
  EXPECT_TRUE(all.jobs[0].stop_now);
  EXPECT_EQ(all.jobs[0].waiting_ms, 1234);
  EXPECT_FALSE(all.jobs[1].stop_now);
  EXPECT_EQ(all.jobs[1].waiting_ms, -1);
}

TEST_P(StateStoreContract, AClosedRoundTakesNoUpdate) {
  ASSERT_EQ(Commit({PutJob{Job("j")}, PutRound{Round(1, 1)}}), kOk);
  ASSERT_EQ(Commit({Move(1, 1, RoundState::kOpen, RoundState::kClosed)}), kOk);
  EXPECT_EQ(Commit({PutUpdate{Update(1, 1, "a")}}), kWrong);
  EXPECT_EQ(Commit({PutUpdate{Update(2, 1, "a")}}), kWrong);
}

TEST_P(StateStoreContract, ARoundKeepsItsSetItsFiguresAndItsReason) {
  ASSERT_EQ(Commit({PutJob{Job("j")}, PutRound{Round(1, 1)}, PutRound{Round(1, 2)}}), kOk);
  MoveRound abandon = Move(1, 1, RoundState::kOpen, RoundState::kAbandoned);
  abandon.reason = "too few";
  MoveRound close = Move(1, 2, RoundState::kOpen, RoundState::kClosed);
  close.counted = {"a"};
  MoveRound done = Move(1, 2, RoundState::kClosed, RoundState::kDone);
  done.figures = {2.5, 1, 2, 3, 7, 4, 0.5, 6, {"a", "d"}};
  ASSERT_EQ(Commit({abandon, close}), kOk);
  ASSERT_EQ(Commit({done}), kOk);
  const StoredState all = *store_->Load();
  ASSERT_EQ(all.rounds.size(), 2u);
  EXPECT_EQ(all.rounds[0].reason, "too few");
  EXPECT_EQ(all.rounds[1].counted, std::vector<std::string>{"a"});
  EXPECT_EQ(FieldsOf(all.rounds[1].figures), FieldsOf(done.figures));
  EXPECT_EQ(all.rounds[0].figures.bias, std::nullopt);  // nobody computed one
}

TEST_P(StateStoreContract, OfDoneRoundsOnlyTheLastOnesUpdatesAreLoaded) {
  ASSERT_EQ(Commit({PutJob{Job("j")}}), kOk);
  for (uint64_t round = 1; round <= 3; ++round) {
    ASSERT_EQ(Commit({PutRound{Round(round, 1)}, PutUpdate{Update(round, 1, "a")}}), kOk);
    if (round == 3) break;
    ASSERT_EQ(Commit({Move(round, 1, RoundState::kOpen, RoundState::kClosed)}), kOk);
    EXPECT_EQ(store_->Load()->updates.back().round, round);
    ASSERT_EQ(Commit({Move(round, 1, RoundState::kClosed, RoundState::kDone)}), kOk);
  }
  ASSERT_EQ(Commit({Move(3, 1, RoundState::kOpen, RoundState::kAbandoned)}), kOk);
  ASSERT_EQ(Commit({PutRound{Round(3, 2)}, PutUpdate{Update(3, 2, "b")}}), kOk);
  const StoredState all = *store_->Load();
  ASSERT_EQ(all.updates.size(), 2u);
  EXPECT_EQ(all.updates[0].round, 2u);
  EXPECT_EQ(all.updates[1].client, "b");
}

TEST_P(StateStoreContract, RemainingTimeIsKeptForRoundsAndEvaluations) {
  ASSERT_EQ(Commit({PutJob{Job("j")}, PutRound{Round(1, 1)}, PutEvaluation{{"j", 0}}}), kOk);
  ASSERT_EQ(Commit({SetRemaining{"j", 1, 1, 42}, SetRemaining{"j", 0, 0, 43}}), kOk);
  EXPECT_EQ(store_->Load()->rounds[0].remaining_ms, 42);
  EXPECT_EQ(store_->Load()->evaluations[0].remaining_ms, 43);
}

TEST_P(StateStoreContract, AnEvaluationClosesOnce) {
  ASSERT_EQ(Commit({PutJob{Job("j")}, PutEvaluation{{"j", 4}}}), kOk);
  EXPECT_EQ(Commit({CloseEvaluation{"j", 4}}), kOk);
  EXPECT_EQ(Commit({CloseEvaluation{"j", 4}}), kWrong);
  EXPECT_EQ(Commit({CloseEvaluation{"j", 5}}), kWrong);
  EXPECT_TRUE(store_->Load()->evaluations[0].done);
}

TEST_P(StateStoreContract, ManyThreadsAreAnsweredEachWithItsOwnResult) {
  ASSERT_EQ(Commit({PutJob{Job("j")}, PutRound{Round(1, 1)}}), kOk);
  std::vector<absl::StatusCode> results(16, absl::StatusCode::kUnknown);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < results.size(); ++t) {
    // Two threads share each name: one of the two must lose.
    threads.emplace_back([this, t, &results] {
      results[t] = Commit({PutUpdate{Update(1, 1, "client " + std::to_string(t / 2))}});
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t t = 0; t < results.size(); t += 2) {
    EXPECT_NE(results[t], results[t + 1]);
    EXPECT_TRUE(results[t] == kOk || results[t + 1] == kOk);
    EXPECT_TRUE(results[t] == kTaken || results[t + 1] == kTaken);
  }
  EXPECT_EQ(store_->Load()->updates.size(), results.size() / 2);
}

INSTANTIATE_TEST_SUITE_P(All, StateStoreContract,
                         testing::Values(StateStoreKind{"Sqlite", Sqlite},
                                         StateStoreKind{"Memory", MakeMemoryStateStore}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace rivulet
