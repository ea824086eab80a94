#include "client/agent/masking_desk.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "client/agent/failure_report.h"
#include "privacy/masking/direction_root.h"
#include "privacy/masking/masked_vector.h"
#include "tests/unit/client/agent/masked_cohort.h"

namespace rivulet {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

using MaskingDeskTest = MaskedCohort;

size_t SessionFiles(const fs::path& state) {
  size_t count = 0;
  for (const auto& entry : fs::directory_iterator(state)) {
    count += entry.path().filename().string().starts_with("masking-");
  }
  return count;
}

secagg::RingVector SumOf(const std::map<std::string, std::string>& files,
                         const secagg::Params& params) {
  secagg::RingVector sum(params.b, params.length());
  for (const auto& [name, file] : files) {
    EXPECT_TRUE(sum.AddPacked(std::string_view(file).substr(0, params.packed_bytes())).ok());
  }
  return sum;
}

TEST_F(MaskingDeskTest, ARoundGoesThroughAndItsSumIsThatOfTheUpdates) {
  BeginAll();
  CarryAll();
  const std::vector<std::string> up = {"ada", "bob", "cid", "eve"};  // dee is gone
  UploadAll(up);
  Post(round_->Freeze(up, now_));
  CarryAll();
  ASSERT_TRUE(opened_);
  const auto sum = round_->Open(SumOf(files_, round_->params()), 1);
  ASSERT_TRUE(sum.ok()) << sum.status();
  const MaskedForm form = *MaskedForm::Of(document_.spec, manifest_);
  const auto& session = round_->session();
  const auto decoded = DecodeSum(form, *form.MapsOf(1, session.sid0(), session.sid(), {}),
                                 round_->params(), *sum, 4);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->figures.tokens, 400);
  EXPECT_EQ(decoded->figures.examples, 16);
}

TEST_F(MaskingDeskTest, WhatIsAskedAgainIsAnsweredWithTheSameBytesAlsoAfterARestart) {
  BeginAll();
  const auto keys = DeskOf("ada").Begin(task_);
  EXPECT_EQ(*keys, *Start("ada").Begin(task_));
  const std::vector<Mail> roster = mail_;
  CarryAll();
  for (const Mail& message : roster) {
    const std::string shares = DeskOf(message.client).On(Said(message.bytes)).bytes;
    EXPECT_FALSE(shares.empty());
    EXPECT_EQ(shares, Start(message.client).On(Said(message.bytes)).bytes);
  }
  UploadAll(names_);
  for (const std::string& name : names_) {
    const auto again = FileOf(Start(name), "another");
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, files_[name]);
  }
  Post(round_->Freeze(names_, now_));
  const std::string survivors = mail_.front().bytes;
  CarryAll();
  ASSERT_TRUE(opened_);
  const std::string endorsement = DeskOf("ada").On(Said(survivors)).bytes;
  EXPECT_EQ(endorsement, Start("ada").On(Said(survivors)).bytes);
}

// What a restarted agent trains again starts from the remainder of the round before.
TEST_F(MaskingDeskTest, WhatTheFileDoesNotCarryStaysWithItsBytesAlsoAfterARestart) {
  document_.spec.compression.codec = "random-k";
  Invite(1);
  BeginAll();
  CarryAll();
  LocalUpdate first = UpdateOf("ada");
  first.masked.residual.emplace(manifest_);
  const auto file = DeskOf("ada").File(task_, first, {});
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_NE(SafetensorsBytes(*first.masked.residual), SafetensorsBytes(ParameterSet(manifest_)));
  for (int restarts = 0; restarts < 3; ++restarts) {
    MaskingDesk& desk = restarts == 0 ? DeskOf("ada") : Start("ada");
    LocalUpdate again = UpdateOf("bob");
    again.masked.residual.emplace(manifest_);
    const auto same = desk.File(task_, again, {});
    ASSERT_TRUE(same.ok()) << same.status();
    EXPECT_EQ(*same, *file);
    ASSERT_TRUE(again.masked.residual.has_value());
    EXPECT_EQ(SafetensorsBytes(*again.masked.residual), SafetensorsBytes(*first.masked.residual));
  }
}

// An agent that was away hears of no end. A day after every deadline nobody asks any more.
TEST_F(MaskingDeskTest, SecretsOfAnAttemptGoADayAfterItsDeadlines) {
  const fs::path state = folder_ / "ada" / "state";
  ASSERT_TRUE(DeskOf("ada").Begin(task_).ok());
  const int64_t latest = document_.spec.job.round_deadline.count() +
                         4 * document_.spec.secure_aggregation.phase_deadline.count() + 30 + 86400;
  unix_s_ += latest - 1;
  const auto keys = Start("ada").Begin(task_);
  ASSERT_TRUE(keys.ok()) << keys.status();
  ASSERT_EQ(SessionFiles(state), 1u);
  unix_s_ += 1;
  Start("ada");
  EXPECT_EQ(SessionFiles(state), 0u);
}

TEST_F(MaskingDeskTest, SecretsOfAnAttemptGoWithTheNextTaskOfAnyJobToo) {
  const fs::path state = folder_ / "ada" / "state";
  ASSERT_TRUE(DeskOf("ada").Begin(task_).ok());
  unix_s_ += int64_t{30} * 86400;
  Assignment other = task_;
  other.key.job = "rnd-2";
  other.masking.clear();  // refused: no parameters
  EXPECT_FALSE(DeskOf("ada").Begin(other).ok());
  EXPECT_EQ(SessionFiles(state), 0u);
}

TEST_F(MaskingDeskTest, TheFileIsWaitedForUntilMasksAreAgreed) {
  BeginAll();
  absl::StatusOr<std::string> file;
  std::thread working([&] { file = FileOf(DeskOf("ada"), "ada"); });
  CarryAll();
  working.join();
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->size(), round_->upload_bytes());
}

TEST_F(MaskingDeskTest, DirectionsFollowFromTheSessionThatIsAgreedAndFromNothingElse) {
  EXPECT_EQ(*DeskOf("ada").Begin(task_), *DeskOf("ada").Begin(task_));
  EXPECT_EQ(*DeskOf("ada").DirectionRoot(task_, {}), std::nullopt);  // this job's follow from it
  DrawFromSessions(document_.spec);
  Invite(1, 2);
  BeginAll();
  absl::StatusOr<std::optional<uint64_t>> waited;
  std::thread working([&] { waited = DeskOf("ada").DirectionRoot(task_, {}); });
  Assignment told = task_;
  told.session_root = 1;  // whatever anybody says
  CarryAll();
  working.join();
  ASSERT_TRUE(waited.ok()) << waited.status();
  const auto& session = round_->session();
  const uint64_t root = DirectionRootOf(session.sid0(), session.sid());
  EXPECT_EQ(*waited, root);
  for (const std::string& name : names_) {
    EXPECT_EQ(*DeskOf(name).DirectionRoot(told, {}), root) << name;
    EXPECT_EQ(*Start(name).DirectionRoot(told, {}), root) << name;  // a process that begins anew
  }
  // The next attempt of the round has other keys.
  Invite(2, 2);
  BeginAll();
  CarryAll();
  EXPECT_NE(*DeskOf("ada").DirectionRoot(task_, {}), root);
}

// Two rosters of one attempt would be two roots to choose from.
TEST_F(MaskingDeskTest, WhoIsShownASecondRosterDrawsNoDirections) {
  DrawFromSessions(document_.spec);
  Invite(1, 2);
  BeginAll();
  const auto first = std::find_if(mail_.begin(), mail_.end(),
                                  [](const auto& message) { return message.client == "ada"; });
  ASSERT_NE(first, mail_.end());
  auto roster = *secagg::Decode<secagg::Roster>(first->bytes);
  CarryAll();
  ASSERT_TRUE(DeskOf("ada").DirectionRoot(task_, {}).ok());
  roster.entries.pop_back();
  EXPECT_TRUE(DeskOf("ada").On(Said(secagg::Encode(roster))).refused.has_value());
  EXPECT_FALSE(DeskOf("ada").DirectionRoot(task_, {}).ok());
}

TEST_F(MaskingDeskTest, WhoeverWaitsIsToldToStopOrThatTheAttemptIsOver) {
  BeginAll();
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(FileOf(DeskOf("ada"), "ada", stop.get_token()).status().code(),
            absl::StatusCode::kCancelled);
  absl::StatusOr<std::string> file;
  std::thread working([&] { file = FileOf(DeskOf("bob"), "bob"); });
  DeskOf("bob").Leave(task_.key);
  working.join();
  EXPECT_EQ(ReportOf(file.status()).code, "failed");
  EXPECT_EQ(ReportOf(file.status()).text, "masking: the attempt is over");
}

TEST_F(MaskingDeskTest, SecretsAreForTheirUserAloneAndGoWithTheAttempt) {
  const fs::path state = folder_ / "ada" / "state";
  BeginAll();
  struct stat info {};
  for (const auto& entry : fs::directory_iterator(state)) {
    ASSERT_EQ(stat(entry.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0077, 0u) << entry.path();
  }
  EXPECT_EQ(SessionFiles(state), 1u);
  DeskOf("ada").Leave(task_.key);
  EXPECT_EQ(SessionFiles(state), 0u);
  Invite(2);
  ASSERT_TRUE(DeskOf("ada").Begin(task_).ok());
  EXPECT_EQ(SessionFiles(state), 1u);
  Invite(3);  // a later attempt takes the place of the one before
  ASSERT_TRUE(DeskOf("ada").Begin(task_).ok());
  EXPECT_EQ(SessionFiles(state), 1u);
  DeskOf("ada").EndRounds("rnd-1", 0);
  EXPECT_EQ(SessionFiles(state), 1u);
  DeskOf("ada").EndRounds("rnd-1", 1);
  EXPECT_EQ(SessionFiles(state), 0u);
}

TEST_F(MaskingDeskTest, AnAttemptWhoseSecretsAreLostIsNotBegunWithOthers) {
  BeginAll();
  DeskOf("ada").Leave(task_.key);
  const auto again = DeskOf("ada").Begin(task_);
  EXPECT_THAT(ReportOf(again.status()).text, StartsWith("PARAMS: advertisement"));
  EXPECT_EQ(DeskOf("ada").Begin(task_).status(), again.status());
}

TEST_F(MaskingDeskTest, AnEarlierRoundOrAttemptIsNotBegun) {
  Invite(2, 5);
  ASSERT_TRUE(DeskOf("ada").Begin(task_).ok());
  Invite(1, 5);
  EXPECT_THAT(ReportOf(DeskOf("ada").Begin(task_).status()).text, HasSubstr("later attempt"));
  DeskOf("ada").Leave({"rnd-1", 5, 2});
  Invite(1, 4);
  EXPECT_EQ(DeskOf("ada").Begin(task_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(MaskingDeskTest, WhatThePolicyDoesNotAllowIsRefusedWithItsReason) {
  policy_.masking.n_min = 6;
  const absl::Status few = DeskOf("ada").Begin(task_).status();
  EXPECT_EQ(ReportOf(few).code, "refused_policy");
  EXPECT_EQ(ReportOf(few).text, "POLICY: n_min: got 4, want at least 6");
  EXPECT_EQ(ExitCodeOf(few), ExitCode::kPolicy);
  policy_.datasets.clear();
  EXPECT_EQ(ReportOf(DeskOf("bob").Begin(task_).status()).code, "refused_policy");
}

TEST_F(MaskingDeskTest, ARefusalOnTheWayIsReportedAndTheSecretsGo) {
  policy_.masking.org_min = 2;
  BeginAll();
  const Mail roster = mail_.front();
  const MaskingDesk::Answer answer = DeskOf(roster.client).On(Said(roster.bytes));
  EXPECT_TRUE(answer.bytes.empty());
  ASSERT_TRUE(answer.refused.has_value());
  EXPECT_EQ(answer.refused->key, task_.key);
  EXPECT_EQ(answer.refused->code, "failed");
  EXPECT_EQ(answer.refused->text, "ROSTER_SMALL: organisations: got 1, want at least 2");
  EXPECT_TRUE(secagg::Decode<secagg::Abort>(answer.refused->abort).ok());
  EXPECT_EQ(SessionFiles(folder_ / roster.client / "state"), 0u);
  EXPECT_EQ(ReportOf(FileOf(DeskOf(roster.client), "x").status()).text, answer.refused->text);
  EXPECT_FALSE(DeskOf(roster.client).On(Said(roster.bytes)).refused.has_value());  // said once
}

TEST_F(MaskingDeskTest, TheCoordinatorsEndOfAnAttemptIsNoRefusalOfThisSide) {
  BeginAll();
  const secagg::Abort abort{.id = secagg::Sid0(round_->params()),
                            .reason = secagg::Reason::kDeadline};
  const MaskingDesk::Answer answer = DeskOf("ada").On(Said(secagg::Encode(abort)));
  EXPECT_TRUE(answer.bytes.empty());
  EXPECT_FALSE(answer.refused.has_value());
  EXPECT_THAT(ReportOf(FileOf(DeskOf("ada"), "ada").status()).text,
              HasSubstr("the server ended the attempt"));
}

TEST_F(MaskingDeskTest, BytesThatAreNoMessageChangeNothing) {
  BeginAll();
  const Mail roster = mail_.front();
  for (const std::string& bytes : {std::string("x"), std::string(), roster.bytes + "x"}) {
    const MaskingDesk::Answer answer = DeskOf(roster.client).On({task_.key, bytes, {"no PEM"}});
    EXPECT_TRUE(answer.bytes.empty());
    EXPECT_FALSE(answer.refused.has_value());
  }
  EXPECT_TRUE(DeskOf(roster.client).On({{"other", 1, 1}, roster.bytes, {}}).bytes.empty());
  EXPECT_FALSE(DeskOf(roster.client).On(Said(roster.bytes)).bytes.empty());
}

TEST_F(MaskingDeskTest, AMemberOnTheDenylistIsNotTrusted) {
  BeginAll();
  std::ofstream(folder_ / "denied") << IdentityOfLeaf(LeafOf("eve"))->serial << "  # lost\n";
  policy_.denylist = folder_ / "denied";
  Start("ada");  // again, with a denylist
  const auto roster = std::find_if(mail_.begin(), mail_.end(),
                                   [](const auto& message) { return message.client == "ada"; });
  const MaskingDesk::Answer answer = DeskOf("ada").On(Said(roster->bytes));
  ASSERT_TRUE(answer.refused.has_value());
  EXPECT_THAT(answer.refused->text, HasSubstr("ROSTER_SIGNATURE"));
}

TEST_F(MaskingDeskTest, ADenylistThatCannotBeReadRefusesEverything) {
  policy_.denylist = folder_ / "nowhere";
  const absl::Status status = DeskOf("ada").Begin(task_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(ReportOf(status).text, Not(HasSubstr("nowhere")));
}

TEST_F(MaskingDeskTest, WithoutCredentialsNothingIsBegun) {
  fs::remove(folder_ / "ada" / "cert.pem");
  EXPECT_EQ(ReportOf(DeskOf("ada").Begin(task_).status()).text,
            "masking: this agent has no certificate to sign with");
}

TEST_F(MaskingDeskTest, ARenewedCertificateServesTheNextAttemptAndNotTheOldOne) {
  BeginAll();
  const std::string before = LeafOf("ada");
  Renew("ada");
  ASSERT_NE(LeafOf("ada"), before);
  ASSERT_TRUE(DeskOf("ada").ReadIdentity().ok());
  Invite(2);
  const auto said = DeskOf("ada").Begin(task_);
  ASSERT_TRUE(said.ok()) << said.status();
  Tell("ada", *said);  // the coordinator takes it from the new certificate
}

TEST_F(MaskingDeskTest, AStateFolderFromAnOlderCopyTakesPartInNothing) {
  const fs::path state = folder_ / "ada" / "state";
  Start("ada");
  fs::copy(state / "masking", folder_ / "copy", fs::copy_options::recursive);
  BeginAll();
  CarryAll();
  desks_.erase("ada");
  fs::remove_all(state / "masking");
  fs::copy(folder_ / "copy", state / "masking", fs::copy_options::recursive);
  Invite(2);
  EXPECT_THAT(std::string(Start("ada").Begin(task_).status().message()), HasSubstr("older copy"));
  desks_.erase("ada");
  fs::remove_all(state / "masking");  // as is one that is gone
  Invite(3);
  EXPECT_THAT(std::string(Start("ada").Begin(task_).status().message()), HasSubstr("older copy"));
}

}  // namespace
}  // namespace rivulet
