#include <spdlog/spdlog.h>

#include <filesystem>

#include "client/agent/masking_desk.h"
#include "common/io/sha256.h"
#include "common/job/job_model.h"
#include "privacy/crypto/certificate.h"
#include "privacy/crypto/key.h"
#include "privacy/crypto/pki_directory.h"
#include "privacy/masking/masked_form.h"
#include "privacy/secagg/shared/messages.h"
#include "tests/fuzz/require.h"
#include "tests/scratch_root.h"

using namespace rivulet;
namespace fs = std::filesystem;

namespace {

JobSpec MaskedSpec() {
  JobSpec spec;
  spec.job.min_clients = 4;
  spec.model.name = "llama-7m";
  spec.lora.lora_r = 2;
  spec.lora.lora_target_modules = {"q_proj"};
  spec.data.dataset = "notes";
  spec.data.seq_length = 64;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  return spec;
}

// An agent that has begun a masked attempt, and the text of its session.
class Agent {
 public:
  Agent() {
    spdlog::set_level(spdlog::level::off);
    Require(InitPki({.federation = "demo"}, home_ / "pki").ok());
    const IssuingAuthority authority = *ReadIssuingAuthority(home_ / "pki" / "issuing");
    const KeyPtr key = *NewSigningKey();
    const std::string chain = *IssueClient(authority, {"demo", "lab", "ann"}, *RequestPem(*key));
    Require(WriteCredentials(home_ / "tls", {*PrivatePem(*key), chain, authority.roots_pem}).ok());
    MakeTask();
    Require(Start()->Begin(task_).ok());
    const auto store = *MaskingStore::Open(state_);
    const std::vector<std::string> sessions = store->Sessions();
    Require(sessions.size() == 1);
    session_ = sessions[0];
  }

  const std::string& session() const { return session_; }

  // The session's file has this text instead; the agent starts, and the coordinator speaks.
  void GoOnFrom(const std::string& text) {
    fs::remove_all(state_);
    fs::create_directory(state_);
    Require((*MaskingStore::Open(state_))->PutSession(task_.key, text).ok());
    const std::unique_ptr<MaskingDesk> desk = Start();
    const auto answer = desk->On({task_.key, std::string(1, '\x03') + std::string(80, 'x'), {}});
    Require(answer.bytes.empty());
    const auto keys = desk->Begin(task_);
    if (text == session_) Require(keys.ok());
    desk->Leave(task_.key);
    desk->EndRounds(task_.key.job, task_.key.round);
  }

 private:
  void MakeTask() {
    const auto document = *DescribeJob(
        std::string(RIVULET_SOURCE_DIR) + "/simulations/models/llama-7m", MaskedSpec());
    policy_.base_models[document.base_hash];
    policy_.datasets["notes"] = "notes.txt";
    task_.key = {"rnd-1", 1, 1};
    task_.job_document = JobDocumentText(document);
    task_.state_sha256 = Sha256Hex("state");
    const MaskedForm form = *MaskedForm::Of(document.spec, JobModelOf(document)->plan.wire());
    const secagg::Params params =
        form.ParamsOf({"rnd-1", 1, 1, task_.state_sha256, task_.job_document, 5});
    task_.masking = secagg::Encode(secagg::Parameters{params});
  }
  std::unique_ptr<MaskingDesk> Start() {
    return *MaskingDesk::Open(policy_, home_ / "tls", state_);
  }

  const fs::path home_ = ScratchRoot::Path();
  const fs::path state_ = home_ / "state";
  Policy policy_;
  Assignment task_;
  std::string session_;
};

// Edits of five bytes: where (two), what to do there (one), with how much or what (two).
std::string Edited(std::string text, std::string_view edits) {
  const auto byte = [&](size_t at) { return static_cast<uint8_t>(edits[at]); };
  for (; edits.size() >= 5; edits.remove_prefix(5)) {
    const size_t at = (byte(0) | byte(1) << 8) % (text.size() + 1);
    switch (byte(2) % 4) {
      case 0:
        text.erase(at, byte(3));
        break;
      case 1:
        text.insert(at, byte(3), edits[4]);
        break;
      case 2:
        text.resize(at);
        break;
      default:
        if (at < text.size()) text[at] = edits[4];
    }
  }
  return text;
}

}  // namespace

// An agent's stored part in a masked attempt, with edits: the agent starts and answers whatever the
// text has become.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Agent agent;
  const std::string_view edits(reinterpret_cast<const char*>(data), std::min<size_t>(size, 100));
  agent.GoOnFrom(Edited(agent.session(), edits));
  return 0;
}
