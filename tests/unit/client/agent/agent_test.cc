#include "client/agent/agent.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <fstream>

#include "client/agent/failure_report.h"
#include "common/io/sha256.h"
#include "common/job/job_document.h"
#include "common/job/job_model.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
constexpr char kState[] = "the global state";
constexpr char kSnapshot[] = "an older one";

// A coordinator in memory: hands out one task, loses what the test wants it to lose.
class FakeLink final : public CoordinatorLink {
 public:
  void Open(const AgentFacts&, Sink sink) override {
    sink_ = std::move(sink);
    ++opened;
    if (refuse_connections-- > 0) return sink_(StreamLost{absl::UnavailableError("refused")});
    sink_(Welcomed{1, std::chrono::milliseconds(50)});
    Assignment task;
    task.key = {"job", round, 1};
    task.job_document = document;
    task.epoch = 1;
    task.state_sha256 = Sha256Hex(kState);
    task.state_bytes = sizeof kState - 1;
    task.log = log;
    sink_(Assigned{task});
  }
  void Close() override {
    if (const Sink sink = sink_) sink(StreamLost{absl::CancelledError("closed")});
  }
  void Report(const Outcome& outcome) override {
    reported.push_back(outcome);
    sink_(Reported{outcome.key, absl::OkStatus()});
    on_done();
  }
  void Beat(const std::string&) override {}
  absl::Status Download(const std::string& sha256, uint64_t bytes, const fs::path& partial,
                        std::stop_token stop, uint64_t from) override {
    if (log && sha256 == log->sha256) {
      log_from.push_back(from);
      if (fail_logs-- > 0) return absl::UnavailableError("the connection broke");
      std::ofstream(partial) << std::string(bytes - from, 'l');
      return absl::OkStatus();
    }
    ++downloads;
    if (cancel_in_download) {
      sink_(Cancelled{{"job", 1, 1}, "round closed"});
      WaitFor(stop);
      on_done();
      return absl::CancelledError("stopped");
    }
    if (store_first-- > 0) {
      if (cancel_while_stored) {
        sink_(Cancelled{{"job", 1, 1}, "round closed"});
        on_done();
      }
      return Refuse(absl::StatusCode::kUnavailable, "is being stored", Remedy::kRetryLater);
    }
    if (fail_downloads-- > 0) return absl::UnavailableError("the connection broke");
    if (log && log->snapshot && sha256 == log->snapshot->sha256) {
      ++snapshots;
      std::ofstream(partial) << kSnapshot;
      return absl::OkStatus();
    }
    std::ofstream(partial) << (damage_downloads-- > 0 ? "something else!!" : kState);
    return absl::OkStatus();
  }
  absl::Status Upload(const Outcome& outcome, std::string_view file) override {
    on_upload();
    uploads.push_back(std::string(file));
    if (lose_uploads-- > 0) return absl::UnavailableError("the reply was lost");
    on_done();
    return absl::OkStatus();
  }

  int refuse_connections = 0, fail_downloads = 0, damage_downloads = 0, lose_uploads = 0;
  uint64_t round = 1;
  std::string document;
  int fail_logs = 0;
  int downloads = 0, snapshots = 0, store_first = 0;
  bool cancel_in_download = false, cancel_while_stored = false;
  std::optional<StateLog> log;
  std::vector<uint64_t> log_from;  // of what was fetched of it
  std::atomic<int> opened{0};
  std::vector<Outcome> reported;
  std::vector<std::string> uploads;
  std::function<void()> on_done, on_upload = [] {};

 private:
  static void WaitFor(const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any().wait(lock, stop, [] { return false; });
  }
  Sink sink_;
};

class FakeWork final : public LocalWork {
 public:
  absl::Status Check(const Assignment&) override { return refuses; }
  absl::StatusOr<WorkResult> Do(const Assignment&, std::shared_ptr<const std::string> state,
                                const std::function<bool()>&) override {
    ++done;
    EXPECT_EQ(*state, kState);
    if (!fails.ok()) return fails;
    WorkResult result;
    result.outcome.kind = Outcome::Kind::kTrained;
    result.file = "delta";
    return result;
  }
  std::optional<uint64_t> MissingLog(const Assignment&) override { return missing; }
  absl::StatusOr<std::string> CatchUp(const Assignment&, std::string_view rest,
                                      std::string_view snapshot,
                                      const std::function<bool()>&) override {
    replayed.push_back(std::string(rest));
    if (!snapshot.empty()) return makes_from_snapshot;
    return makes;
  }
  bool LacksLog(const Assignment&) override { return lacks_log; }
  void Accepted(const TaskKey& key) override { accepted.push_back(key); }
  std::optional<uint64_t> missing;
  bool lacks_log = false;
  std::string makes = kState, makes_from_snapshot = kState;
  std::vector<std::string> replayed;
  int done = 0;
  std::vector<TaskKey> accepted;
  absl::Status fails, refuses;
};

class AgentTest : public testing::Test {
 protected:
  absl::Status RunUntilDone() {
    const auto store = *AgentStore::Open(folder_);
    SessionConfig config;
    config.backoff_base = backoff_;
    std::optional<ReleaseBook> releases;  // read anew, as by another process
    if (most_releases_ > 0) releases.emplace(folder_, most_releases_);
    Agent agent({}, config, *store, link_, work_, nullptr, releases ? &*releases : nullptr);
    link_.on_done = [&agent] { agent.Terminate(); };
    return agent.Run();
  }
  const fs::path folder_ = ScratchFolder();
  std::chrono::milliseconds backoff_{1};
  int most_releases_ = 0;
  FakeLink link_;
  FakeWork work_;
};

TEST_F(AgentTest, ATaskIsDoneOnceWhateverTheWayLoses) {
  link_.refuse_connections = 3;
  link_.damage_downloads = 1;
  link_.lose_uploads = 2;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(work_.done, 1);
  EXPECT_EQ(link_.opened, 4);
  EXPECT_EQ(link_.uploads, (std::vector<std::string>{"delta", "delta", "delta"}));
  EXPECT_EQ(work_.accepted, (std::vector<TaskKey>{{"job", 1, 1}}));  // not what was lost
}

TEST_F(AgentTest, AStateThatALogMakesIsNotFetched) {
  link_.log = StateLog{std::string(64, 'a'), 10, 0};
  work_.missing = 4;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.log_from, (std::vector<uint64_t>{4}));
  EXPECT_EQ(work_.replayed, (std::vector<std::string>{"llllll"}));
  EXPECT_EQ(link_.downloads, 0);
  EXPECT_EQ(work_.done, 1);
}

TEST_F(AgentTest, ALogWhoseFetchBreaksIsFetchedAgainOverTheSameConnection) {
  link_.log = StateLog{std::string(64, 'a'), 10, 0};
  link_.fail_logs = 3;
  work_.missing = 4;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.log_from, (std::vector<uint64_t>{4, 4, 4, 4}));
  EXPECT_EQ(link_.downloads, 0);
  EXPECT_EQ(link_.opened, 1);
  EXPECT_EQ(work_.done, 1);
}

// A task whose draws go by the log cannot do without it.
TEST_F(AgentTest, TheLogThatATaskDrawsByIsFetchedAgainToo) {
  link_.log = StateLog{std::string(64, 'a'), 10, 0};
  link_.fail_logs = 3;
  work_.lacks_log = true;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.log_from, (std::vector<uint64_t>{0, 0, 0, 0}));
  EXPECT_EQ(link_.downloads, 1);
  EXPECT_EQ(link_.opened, 1);
  EXPECT_EQ(work_.done, 1);
}

TEST_F(AgentTest, NothingIsFetchedForAStateThatIsThere) {
  link_.log = StateLog{std::string(64, 'a'), 10, 0};
  work_.missing = 10;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_TRUE(link_.log_from.empty());
  EXPECT_EQ(work_.replayed, (std::vector<std::string>{""}));
  EXPECT_EQ(link_.downloads, 0);
}

TEST_F(AgentTest, WhatATaskBringsOfTheLogIsNotFetched) {
  link_.log = StateLog{std::string(64, 'a'), 10, 0};
  link_.log->rest = "3456789";
  work_.missing = 6;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_TRUE(link_.log_from.empty());
  EXPECT_EQ(work_.replayed, (std::vector<std::string>{"6789"}));
  EXPECT_EQ(link_.downloads, 0);
  EXPECT_EQ(work_.done, 1);
}

// Another process was told to hold more, and did.
TEST_F(AgentTest, WhoLacksMoreOfTheLogThanATaskBringsFetchesIt) {
  link_.log = StateLog{std::string(64, 'a'), 10, 0};
  link_.log->rest = "3456789";
  work_.missing = 2;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.log_from, (std::vector<uint64_t>{2}));
  EXPECT_EQ(work_.replayed, (std::vector<std::string>{"llllllll"}));
  EXPECT_EQ(link_.downloads, 0);
}

TEST_F(AgentTest, BytesOfATaskThatLeadToAnotherHashAreNotUsed) {
  link_.log = StateLog{std::string(64, 'a'), 10, 0};
  link_.log->rest = "forged";
  work_.missing = 4;
  work_.makes = "another state";
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(work_.replayed, (std::vector<std::string>{"forged"}));
  EXPECT_EQ(link_.downloads, 1);  // the state itself
  EXPECT_EQ(work_.done, 1);
}

TEST_F(AgentTest, AReplayToAnotherHashFetchesTheStateInstead) {
  link_.log = StateLog{std::string(64, 'a'), 10, 0};
  work_.missing = 0;
  work_.makes = "another state";
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.log_from, (std::vector<uint64_t>{0}));
  EXPECT_EQ(link_.downloads, 1);
  EXPECT_EQ(work_.done, 1);
}

// Four bytes were logged since the snapshot.
StateLog LogWithSnapshot() {
  StateLog log{std::string(64, 'a'), 10, 100};
  log.snapshot = StateSnapshot{Sha256Hex(kSnapshot), sizeof kSnapshot - 1, 106};
  return log;
}

TEST_F(AgentTest, ASnapshotAndTheLogSinceMakeTheState) {
  link_.log = LogWithSnapshot();
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.downloads, 1);
  EXPECT_EQ(link_.snapshots, 1);
  EXPECT_EQ(link_.log_from, (std::vector<uint64_t>{6}));
  EXPECT_EQ(work_.replayed, (std::vector<std::string>{"llll"}));
  EXPECT_EQ(work_.done, 1);
}

TEST_F(AgentTest, ASnapshotIsNotFetchedWhereTheLogIsShorter) {
  link_.log = LogWithSnapshot();
  work_.missing = 2;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.downloads, 0);
  EXPECT_EQ(work_.replayed, (std::vector<std::string>{"llllllll"}));
}

TEST_F(AgentTest, AReplayToAnotherHashBeginsAgainAtTheSnapshot) {
  link_.log = LogWithSnapshot();
  work_.missing = 2;
  work_.makes = "another state";
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.snapshots, 1);
  EXPECT_EQ(link_.downloads, 1);
  EXPECT_EQ(work_.replayed, (std::vector<std::string>{"llllllll", "llll"}));
  EXPECT_EQ(work_.done, 1);
}

TEST_F(AgentTest, ASnapshotThatLeadsToAnotherHashFetchesTheStateItself) {
  link_.log = LogWithSnapshot();
  work_.makes_from_snapshot = "another state";
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.snapshots, 1);
  EXPECT_EQ(link_.downloads, 2);
  EXPECT_EQ(work_.done, 1);
}

TEST_F(AgentTest, ARefusalByPolicyIsReportedWithItsCodeAndNothingFetched) {
  work_.refuses =
      WithReport(WithExit(absl::FailedPreconditionError("policy: data.dataset"), ExitCode::kPolicy),
                 "refused_policy", "policy: data.dataset");
  EXPECT_TRUE(RunUntilDone().ok());
  ASSERT_EQ(link_.reported.size(), 1u);
  EXPECT_EQ(link_.reported[0].code, "refused_policy");
  EXPECT_EQ(link_.reported[0].text, "policy: data.dataset");
  EXPECT_EQ(link_.downloads, 0);
}

TEST_F(AgentTest, NoMoreUpdatesLeaveThanTheOwnerAllowsAndEachIsCountedBefore) {
  JobSpec spec;
  spec.model.name = "llama-7m";
  spec.data.dataset = "notes";
  spec.data.seq_length = 64;
  const std::string base = std::string(RIVULET_SOURCE_DIR) + "/simulations/models/llama-7m";
  link_.document = JobDocumentText(*DescribeJob(base, spec));
  most_releases_ = 1;
  link_.on_upload = [this] { EXPECT_TRUE(fs::exists(folder_ / "releases.json")); };
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_TRUE(RunUntilDone().ok());  // the same task again
  EXPECT_EQ(link_.uploads.size(), 2u);
  EXPECT_TRUE(link_.reported.empty());
  link_.round = 2;
  link_.downloads = work_.done = 0;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.uploads.size(), 2u);
  EXPECT_EQ(link_.downloads + work_.done, 0);
  ASSERT_EQ(link_.reported.size(), 1u);
  EXPECT_EQ(link_.reported[0].code, "refused_policy");
  EXPECT_EQ(link_.reported[0].text,
            "policy: privacy.max-releases-in-all: got release 2 of data set 'notes', allowed at "
            "most 1");
}

TEST_F(AgentTest, WhatAnErrorSaysOfPathsAndDataStaysHere) {
  work_.fails = absl::InvalidArgumentError("/home/ann/notes.jsonl:17: got 'a patient's name'");
  EXPECT_TRUE(RunUntilDone().ok());
  ASSERT_EQ(link_.reported.size(), 1u);
  EXPECT_EQ(link_.reported[0].code, "bad_data");
  EXPECT_EQ(link_.reported[0].text,
            "the local work ended with INVALID_ARGUMENT; the agent's log says why");
}

// These codes mean "the way failed" where the coordinator answers; here they are the work's own.
TEST_F(AgentTest, EveryErrorOfTheWorkItselfIsReported) {
  for (const absl::Status& error :
       {absl::PermissionDeniedError("/data: open: Permission denied"),
        absl::UnavailableError("/data: open: Resource temporarily unavailable"),
        WithExit(absl::CancelledError("x"), ExitCode::kConnection)}) {
    TearDown();
    SetUp();
    link_.reported.clear();
    work_.fails = error;
    EXPECT_TRUE(RunUntilDone().ok());
    ASSERT_EQ(link_.reported.size(), 1u) << error;
    EXPECT_EQ(link_.reported[0].code, "failed");
    EXPECT_EQ(link_.reported[0].text.find("/data"), std::string::npos);
  }
}

TEST_F(AgentTest, AStateThatCannotBeFetchedIsTriedAgainOverANewConnection) {
  link_.fail_downloads = 20;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.opened, 2);
  EXPECT_EQ(work_.done, 1);
  EXPECT_TRUE(link_.reported.empty());
  EXPECT_EQ(link_.uploads, (std::vector<std::string>{"delta"}));
  EXPECT_EQ(work_.accepted, (std::vector<TaskKey>{{"job", 1, 1}}));
  EXPECT_TRUE((*AgentStore::Open(folder_))->Load()->starts.empty());
}

TEST_F(AgentTest, ACancelEndsALongDownload) {
  link_.cancel_in_download = true;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.downloads, 1);
  EXPECT_EQ(work_.done, 0);
  EXPECT_TRUE(link_.reported.empty());
}

TEST_F(AgentTest, AStateThatMustBeStoredFirstIsWaitedForOnTheSameConnection) {
  link_.store_first = 50;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.downloads, 51);
  EXPECT_EQ(link_.opened, 1);
  EXPECT_EQ(work_.done, 1);
}

// It would wait for up to two hours, and this test would run into its limit.
TEST_F(AgentTest, ACancelEndsTheWaitForAStateThatMustBeStoredFirst) {
  backoff_ = std::chrono::hours(1);
  link_.store_first = 1;
  link_.cancel_while_stored = true;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(link_.downloads, 1);
  EXPECT_EQ(work_.done, 0);
  EXPECT_TRUE(link_.reported.empty());
}

TEST_F(AgentTest, AStateThatKeepsArrivingDamagedIsReported) {
  link_.damage_downloads = 20;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(work_.done, 0);
  ASSERT_EQ(link_.reported.size(), 1u);
  EXPECT_EQ(link_.reported[0].code, "failed");
}

TEST_F(AgentTest, ARestartedAgentSendsWhatItHadKeptWithoutTrainingAgain) {
  {
    const auto store = *AgentStore::Open(folder_);
    Outcome kept;
    kept.kind = Outcome::Kind::kTrained;
    kept.key = {"job", 1, 1};
    kept.sha256 = Sha256Hex("delta");
    kept.bytes = 5;
    std::ofstream(store->UpdatePath(kept.key)) << "delta";
    ASSERT_TRUE(store->PutOutcome(kept).ok());
  }
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(work_.done, 0);
  EXPECT_EQ(link_.uploads, (std::vector<std::string>{"delta"}));
}

TEST_F(AgentTest, AnUpdateWhoseFileIsDamagedIsReportedAndNotSent) {
  for (const std::string file : {"delt", "dellta"}) {
    TearDown();
    SetUp();
    link_.reported.clear();
    {
      const auto store = *AgentStore::Open(folder_);
      Outcome kept;
      kept.kind = Outcome::Kind::kTrained;
      kept.key = {"job", 1, 1};
      kept.sha256 = Sha256Hex("delta");
      kept.bytes = file.size();
      std::ofstream(store->UpdatePath(kept.key)) << file;
      ASSERT_TRUE(store->PutOutcome(kept).ok());
    }
    EXPECT_TRUE(RunUntilDone().ok());
    EXPECT_TRUE(link_.uploads.empty());
    EXPECT_TRUE(work_.accepted.empty());
    ASSERT_EQ(link_.reported.size(), 1u);
    EXPECT_EQ(link_.reported[0].code, "bad_update");
    EXPECT_EQ(link_.reported[0].text, "the update's file is damaged");
  }
}

TEST_F(AgentTest, AnUpdateWhoseFileIsGoneIsReportedWithoutItsPath) {
  {
    const auto store = *AgentStore::Open(folder_);
    Outcome kept;
    kept.kind = Outcome::Kind::kTrained;
    kept.key = {"job", 1, 1};
    kept.sha256 = Sha256Hex("delta");
    ASSERT_TRUE(store->PutOutcome(kept).ok());
  }
  EXPECT_TRUE(RunUntilDone().ok());
  ASSERT_EQ(link_.reported.size(), 1u);
  EXPECT_EQ(link_.reported[0].code, "bad_update");
  EXPECT_EQ(link_.reported[0].text, "the update's file is gone");
}

}  // namespace
}  // namespace rivulet
