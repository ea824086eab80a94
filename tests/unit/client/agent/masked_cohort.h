#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/agent/masking_desk.h"
#include "common/formats/safetensors_writer.h"
#include "common/io/sha256.h"
#include "common/job/job_model.h"
#include "common/random.h"
#include "common/scalars/scalar_form.h"
#include "coordinator/rounds/masked_group.h"
#include "privacy/crypto/certificate.h"
#include "privacy/crypto/key.h"
#include "privacy/crypto/pki_directory.h"
#include "privacy/masking/masked_form.h"
#include "tests/unit/scratch.h"

// Agents' desks with certificates of one authority, and the coordinator's side of their attempt.

namespace rivulet {

namespace fs = std::filesystem;

inline JobDocument DescribedMaskedJob() {
  JobSpec spec;
  spec.job.seed = 7;
  spec.job.min_clients = 4;
  spec.model.name = "llama-7m";
  spec.lora.lora_r = 2;
  spec.lora.lora_target_modules = {"q_proj"};
  spec.data.dataset = "notes";
  spec.data.seq_length = 64;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.secure_aggregation.phase_deadline = std::chrono::seconds(1);
  const auto document =
      DescribeJob(std::string(RIVULET_SOURCE_DIR) + "/simulations/models/llama-7m", spec);
  EXPECT_TRUE(document.ok()) << document.status();
  return document.ok() ? *document : JobDocument();
}
inline const JobDocument& MaskedDocument() {
  static const JobDocument document = DescribedMaskedJob();
  return document;
}

// The same job with updates of coefficients along directions that follow from sessions.
inline void DrawFromSessions(JobSpec& spec) {
  spec.train.estimator = "central";
  spec.train.optimizer = "sgd";
  spec.train.max_grad_norm = 0;
  spec.train.max_steps = 4;
  spec.scalars.enabled = true;
  spec.scalars.drawn_from = "session";
}

// A message on its way to one member.
struct Mail {
  std::string client;
  std::string bytes;
};

// Credentials of one authority for the five agents of every cohort, made once a process.
class CohortCredentials {
 public:
  static const fs::path& Folder() {
    static const fs::path folder = Make();
    return folder;
  }
  static void Enrol(const fs::path& folder, const fs::path& home, const std::string& name) {
    const IssuingAuthority authority = *ReadIssuingAuthority(folder / "pki" / "issuing");
    const KeyPtr key = *NewSigningKey();
    const std::string chain = *IssueClient(authority, {"demo", "lab", name}, *RequestPem(*key));
    EXPECT_TRUE(WriteCredentials(home, {*PrivatePem(*key), chain, authority.roots_pem}).ok());
  }

 private:
  static fs::path Make() {
    const fs::path folder = ScratchRoot::Path() / "masked-cohort";
    EXPECT_TRUE(InitPki({.federation = "demo"}, folder / "pki").ok());
    for (const char* name : {"ada", "bob", "cid", "dee", "eve"}) {
      Enrol(folder, folder / name, name);
    }
    return folder;
  }
};

class MaskedCohort : public testing::Test {
 protected:
  explicit MaskedCohort(fs::path folder = ScratchFolder()) : folder_(std::move(folder)) {}

  void SetUp() override {
    fs::copy(CohortCredentials::Folder(), folder_, fs::copy_options::recursive);
    document_ = MaskedDocument();
    policy_.base_models[document_.base_hash];
    policy_.datasets["notes"] = "notes.txt";
    Invite(1);
  }

  void Renew(const std::string& name) { CohortCredentials::Enrol(folder_, folder_ / name, name); }

  // The desk as a process that starts has it.
  MaskingDesk& Start(const std::string& name) {
    desks_.erase(name);
    auto desk = MaskingDesk::Open(policy_, folder_ / name, folder_ / name / "state", rounding_,
                                  [this] { return unix_s_; });
    EXPECT_TRUE(desk.ok()) << desk.status();
    desks_[name] = *std::move(desk);
    return *desks_[name];
  }
  MaskingDesk& DeskOf(const std::string& name) {
    return desks_.contains(name) ? *desks_[name] : Start(name);
  }

  // Opens an attempt of round 1 for everybody.
  void Invite(uint32_t attempt, uint64_t round = 1) {
    names_.clear();
    for (const char* name : {"ada", "bob", "cid", "dee", "eve"}) names_.push_back(name);
    task_.key = {"rnd-1", round, attempt};
    task_.job_document = JobDocumentText(document_);
    const auto model = JobModelOf(document_);
    ASSERT_TRUE(model.ok()) << model.status();
    state_ = SafetensorsBytes(ParameterSet(model->plan.wire()));
    manifest_ = UpdateManifestOf(document_.spec, model->plan.wire());
    task_.state_sha256 = Sha256Hex(state_);
    task_.state_bytes = state_.size();
    const auto form = MaskedForm::Of(document_.spec, manifest_);
    ASSERT_TRUE(form.ok()) << form.status();
    const secagg::Params params =
        form->ParamsOf({"rnd-1", round, attempt, task_.state_sha256, task_.job_document, 5});
    auto started = MaskedGroup::Start(params, names_, {}, now_);
    ASSERT_TRUE(started.ok()) << started.status();
    round_ = *std::move(started);
    task_.masking = round_->ParametersMessage();
  }

  Credentials FilesOf(const std::string& name) { return *ReadCredentials(folder_ / name); }
  std::string LeafOf(const std::string& name) {
    const X509Ptr leaf = *ReadCertificate(FilesOf(name).chain_pem);
    return *CertificatePem(*leaf);
  }
  secagg::MemberCertificate MemberOf(const std::string& name) {
    const LeafKey key = *KeyOfLeaf(LeafOf(name));
    return {name, "lab", key.fingerprint, key.public_key};
  }

  MaskingArrived Said(const std::string& bytes) {
    MaskingArrived message{task_.key, bytes, {}};
    if (!bytes.empty() && bytes[0] == static_cast<char>(secagg::MessageKind::kRoster)) {
      for (const std::string& name : names_) message.certificates.push_back(LeafOf(name));
    }
    return message;
  }

  // Gives the coordinator a message of `name`; what it then says waits in `mail_`.
  void Tell(const std::string& name, const std::string& bytes) {
    const auto output = round_->OnMessage(MemberOf(name), bytes, now_);
    // What comes when enough have spoken is late, and no more.
    if (secagg::ReasonOf(output.status()) == secagg::Reason::kDeadline) return;
    ASSERT_TRUE(output.ok()) << name << ": " << output.status();
    Post(*output);
  }
  void Post(const MaskedGroup::Output& output) {
    EXPECT_TRUE(output.failed.ok()) << output.failed;
    opened_ = opened_ || output.opened;
    for (const auto& [clients, bytes] : output.send) {
      for (const std::string& client : clients) mail_.push_back({client, bytes});
    }
    if (!output.rebuild) return;
    auto work = round_->BeginRebuild();
    ASSERT_TRUE(work.has_value());
    work->Run();
    Post(round_->Rebuilt(*std::move(work), now_));
  }
  // Carries messages to and fro until nobody has anything to say.
  void CarryAll() {
    while (!mail_.empty()) {
      const Mail message = mail_.front();
      mail_.erase(mail_.begin());
      const MaskingDesk::Answer answer = DeskOf(message.client).On(Said(message.bytes));
      ASSERT_FALSE(answer.refused.has_value()) << answer.refused->text;
      last_answer_[message.client] = answer.bytes;
      if (!answer.bytes.empty()) Tell(message.client, answer.bytes);
    }
  }
  void BeginAll() {
    for (const std::string& name : names_) {
      const auto said = DeskOf(name).Begin(task_);
      ASSERT_TRUE(said.ok()) << said.status();
      Tell(name, *said);
    }
  }

  LocalUpdate UpdateOf(const std::string& name) {
    ParameterSet delta(manifest_);
    const RandomStream stream(RootOf(7, 1, name), Purpose::kInitialValues, 0);
    for (size_t row = 0; row < delta.size(); ++row) {
      stream.FillUniform(static_cast<uint32_t>(row), delta.floats(row));
      for (float& value : delta.floats(row)) value *= 0.01f;
    }
    return {SafetensorsBytes(delta), 4, 100, 1, 2.5, 0.5};
  }
  absl::StatusOr<std::string> FileOf(MaskingDesk& desk, const std::string& update,
                                     const std::stop_token& stop = {}) {
    LocalUpdate trained = UpdateOf(update);
    return desk.File(task_, trained, stop);
  }
  void UploadAll(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      const auto file = FileOf(DeskOf(name), name);
      ASSERT_TRUE(file.ok()) << file.status();
      files_[name] = *file;
      const std::string trailer = file->substr(round_->params().packed_bytes());
      ASSERT_TRUE(round_->OnUpload(name, trailer).ok());
    }
  }

  const fs::path folder_;
  const std::chrono::milliseconds now_{0};
  int64_t unix_s_ = 1'700'000'000;
  JobDocument document_;
  Policy policy_;
  RoundingMaker rounding_;
  Manifest manifest_;  // of updates
  std::string state_;
  Assignment task_;
  std::vector<std::string> names_;
  std::map<std::string, std::unique_ptr<MaskingDesk>> desks_;
  std::unique_ptr<MaskedGroup> round_;
  std::vector<Mail> mail_;
  std::map<std::string, std::string> last_answer_;
  std::map<std::string, std::string> files_;
  bool opened_ = false;
};

}  // namespace rivulet
