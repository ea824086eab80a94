#include <gmock/gmock.h>

#include <fstream>

#include "client/agent/agent.h"
#include "client/upload/residual_store.h"
#include "privacy/masking/direction_root.h"
#include "tests/unit/client/agent/masked_cohort.h"

namespace rivulet {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// The coordinator of one agent, ada, whose companions are desks that answer at once.
class MaskingLink final : public CoordinatorLink {
 public:
  void Open(const AgentFacts&, Sink sink) override {
    sink_ = std::move(sink);
    sink_(Welcomed{1, std::chrono::milliseconds(50)});
    sink_(Assigned{task});
    on_open(*this);
  }
  void Close() override {
    if (const Sink sink = sink_) sink(StreamLost{absl::CancelledError("closed")});
  }
  void Give(SessionEvent event) { sink_(std::move(event)); }
  void Report(const Outcome& outcome) override {
    reported.push_back(outcome);
    sink_(Reported{outcome.key, absl::OkStatus()});
    on_done();
  }
  void Beat(const std::string&) override {}
  void SendMasking(const TaskKey&, const std::string& bytes) override {
    said.push_back(bytes);
    on_said(bytes);
  }
  absl::Status Download(const std::string&, uint64_t, const fs::path& partial, std::stop_token,
                        uint64_t) override {
    std::ofstream(partial) << state;
    return absl::OkStatus();
  }
  absl::Status Upload(const Outcome& outcome, std::string_view file) override {
    uploaded.push_back(outcome);
    files.emplace_back(file);
    on_done();
    return absl::OkStatus();
  }

  Assignment task;
  std::string state;
  std::vector<Outcome> reported, uploaded;
  std::vector<std::string> said, files;
  std::function<void()> on_done;
  std::function<void(MaskingLink&)> on_open = [](MaskingLink&) {};
  std::function<void(const std::string&)> on_said;

 private:
  Sink sink_;
};

class MaskedAgentTest : public MaskedCohort, public LocalWork {
 protected:
  absl::Status Check(const Assignment&) override { return absl::OkStatus(); }
  absl::StatusOr<WorkResult> Do(const Assignment& task, std::shared_ptr<const std::string>,
                                const std::function<bool()>& cancelled) override {
    ++trained_;
    drawn_from_ = task.session_root;
    while (until_cancelled_ && !cancelled()) std::this_thread::yield();
    const LocalUpdate update = UpdateOf("ada");
    WorkResult result;
    result.outcome.kind = Outcome::Kind::kTrained;
    result.outcome.examples = update.examples;
    result.outcome.tokens = update.tokens;
    result.outcome.loss = update.loss;
    result.file = update.file;
    if (residuals_ != nullptr) result.masked.residual.emplace(manifest_);
    result.masked.moves = task.state_sha256;
    return result;
  }
  void Propose(const TaskKey& key, const UpdateEncoder::MaskedExtras& made) override {
    if (!made.residual) return;
    EXPECT_TRUE(residuals_->Propose(UploadOf(key), made.moves, *made.residual).ok());
  }
  void Accepted(const TaskKey& key) override {
    if (residuals_ == nullptr) return;
    EXPECT_TRUE(residuals_->Settle(UploadOf(key)).ok());
  }
  static UploadKey UploadOf(const TaskKey& key) { return {key.job, "ada", key.round, key.attempt}; }

  // The others' part of the attempt, once ada has said something.
  void Answer(const std::string& bytes) {
    Tell("ada", bytes);
    if (bytes[0] == static_cast<char>(secagg::MessageKind::kAdvertisement)) {
      for (const char* name : {"bob", "cid", "dee", "eve"}) Tell(name, *DeskOf(name).Begin(task_));
    }
    while (!mail_.empty()) {
      const Mail message = mail_.front();
      mail_.erase(mail_.begin());
      if (message.client == "ada") {
        link_.Give(Said(message.bytes));
      } else {
        const std::string answer = DeskOf(message.client).On(Said(message.bytes)).bytes;
        if (!answer.empty()) Tell(message.client, answer);
      }
    }
  }

  absl::Status RunUntilDone(bool with_desk = true) {
    link_.task = task_;
    link_.task.epoch = 1;
    link_.state = state_;
    if (!link_.on_said) link_.on_said = [this](const std::string& bytes) { Answer(bytes); };
    const auto store = *AgentStore::Open(folder_ / "ada" / "state");
    SessionConfig config;
    config.backoff_base = std::chrono::milliseconds(1);
    Agent agent({}, config, *store, link_, *this, with_desk ? &Start("ada") : nullptr,
                releases_.get());
    link_.on_done = [&agent] { agent.Terminate(); };
    return agent.Run();
  }

  MaskingLink link_;
  std::unique_ptr<ResidualStore> residuals_;  // null: no error feedback
  std::unique_ptr<ReleaseBook> releases_;     // null: any number
  bool until_cancelled_ = false;
  std::atomic<int> trained_{0};
  std::optional<uint64_t> drawn_from_;
};

TEST_F(MaskedAgentTest, UploadsTheMaskedVectorAndNoFigures) {
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_THAT(link_.reported, IsEmpty());
  ASSERT_THAT(link_.uploaded, SizeIs(1));
  const Outcome& outcome = link_.uploaded[0];
  EXPECT_EQ(outcome.examples + outcome.tokens + outcome.steps, 0);
  EXPECT_EQ(outcome.loss, 0);
  EXPECT_EQ(outcome.grad_norm, 0);
  EXPECT_EQ(link_.files[0].size(), round_->upload_bytes());
  EXPECT_TRUE(round_->OnUpload("ada", link_.files[0].substr(round_->params().packed_bytes())).ok());
}

// A root in the task, could a coordinator send one, counts for nothing.
TEST_F(MaskedAgentTest, NoWordOfTheCoordinatorsGivesDirections) {
  task_.session_root = 1;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(trained_, 1);
  EXPECT_EQ(drawn_from_, std::nullopt);
}

TEST_F(MaskedAgentTest, TrainsOnceMasksAreAgreedAlongTheDirectionsOfItsOwnSession) {
  DrawFromSessions(document_.spec);
  Invite(1);
  task_.session_root = 1;
  EXPECT_TRUE(RunUntilDone().ok());
  ASSERT_THAT(link_.uploaded, SizeIs(1));
  const auto& session = round_->session();
  EXPECT_EQ(drawn_from_, DirectionRootOf(session.sid0(), session.sid()));
}

TEST_F(MaskedAgentTest, ARefusalByPolicyIsReportedBeforeAnythingIsSaid) {
  policy_.masking.gamma_min_ppm = 200'000;
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_THAT(link_.said, IsEmpty());
  ASSERT_THAT(link_.reported, SizeIs(1));
  EXPECT_EQ(link_.reported[0].code, "refused_policy");
  EXPECT_EQ(link_.reported[0].text, "POLICY: gamma_ppm: got 100000, want at least 200000");
  EXPECT_EQ(trained_, 0);
}

TEST_F(MaskedAgentTest, NothingIsSaidOfARoundBeyondWhatTheOwnerAllows) {
  releases_ = std::make_unique<ReleaseBook>(folder_ / "ada", 1);
  Assignment other = task_;
  other.key.job = "rnd-0";
  ASSERT_TRUE(releases_->Count(other).ok());
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_THAT(link_.said, IsEmpty());
  ASSERT_THAT(link_.reported, SizeIs(1));
  EXPECT_EQ(link_.reported[0].code, "refused_policy");
  EXPECT_THAT(link_.reported[0].text, HasSubstr("privacy.max-releases-in-all: got release 2"));
  EXPECT_EQ(trained_, 0);
}

TEST_F(MaskedAgentTest, ARefusalOnTheWayEndsTheTrainingAndIsReported) {
  policy_.masking.org_min = 3;
  until_cancelled_ = true;
  EXPECT_TRUE(RunUntilDone().ok());
  ASSERT_THAT(link_.reported, SizeIs(1));
  EXPECT_EQ(link_.reported[0].code, "failed");
  EXPECT_THAT(link_.reported[0].text, HasSubstr("organisations: got 1, want at least 3"));
  EXPECT_THAT(link_.said, SizeIs(1));  // its keys; the report says that it is out
  EXPECT_THAT(link_.uploaded, IsEmpty());
}

TEST_F(MaskedAgentTest, KeysAreSaidAgainWhenTheTaskComesAgain) {
  link_.on_said = [this](const std::string& bytes) {
    if (link_.said.size() == 1) return link_.Give(Assigned{link_.task});  // the first got lost
    EXPECT_EQ(bytes[0] == 2 ? bytes : link_.said[0], link_.said[0]);
    Answer(bytes);
  };
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(trained_, 1);
  EXPECT_THAT(link_.uploaded, SizeIs(1));
}

// The process died once its masked bytes were stored; what it trained then is gone, and what is
// trained now is another update.
TEST_F(MaskedAgentTest, AfterADeathBetweenMaskAndUploadTheRemainderIsThatOfTheBytesUploaded) {
  document_.spec.compression.codec = "random-k";
  Invite(1);
  residuals_ = OpenResidualDirectory(folder_ / "ada" / "state");
  BeginAll();
  CarryAll();
  LocalUpdate lost = UpdateOf("bob");
  lost.masked.residual.emplace(manifest_);
  const auto stored = DeskOf("ada").File(task_, lost, {});
  ASSERT_TRUE(stored.ok()) << stored.status();
  link_.on_said = [](const std::string&) {};
  EXPECT_TRUE(RunUntilDone().ok());
  EXPECT_EQ(trained_, 1);
  ASSERT_THAT(link_.files, SizeIs(1));
  EXPECT_EQ(link_.files[0], *stored);
  const UploadKey next{task_.key.job, "ada", 2, 1};
  const auto rest = residuals_->Take(next, "another state", manifest_);
  ASSERT_TRUE(rest.has_value());
  EXPECT_EQ(SafetensorsBytes(*rest), SafetensorsBytes(*lost.masked.residual));
  EXPECT_FALSE(residuals_->Take(next, task_.state_sha256, manifest_).has_value());  // a lost round
}

TEST_F(MaskedAgentTest, WithoutADeskAMaskedTaskIsGivenUp) {
  EXPECT_TRUE(RunUntilDone(false).ok());
  ASSERT_THAT(link_.reported, SizeIs(1));
  EXPECT_EQ(link_.reported[0].code, "failed");
  EXPECT_THAT(link_.reported[0].text, HasSubstr("no certificate"));
}

}  // namespace
}  // namespace rivulet
