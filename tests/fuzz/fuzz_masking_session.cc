#include <spdlog/spdlog.h>

#include <filesystem>

#include "tests/fuzz/require.h"
#include "tests/unit/client/agent/masked_cohort.h"

using namespace rivulet;

namespace {

constexpr char kAgent[] = "ada";

// An honest attempt of five agents, stopped before each message to one of them.
class AgentsAttempt : public MaskedCohort {
 public:
  struct Scene {
    fs::path state;       // her state directory as it was then
    std::string session;  // the text of her session in it
    std::string message;  // what comes next; empty after the last one
    bool answered = false;
    std::string file;  // her upload, once it is made
  };

  AgentsAttempt() : MaskedCohort(ScratchRoot::Path() / "attempt") {
    spdlog::set_level(spdlog::level::off);
    fs::create_directories(folder_);
    SetUp();
    BeginAll();
    Carry();  // roster, shares
    UploadAll(names_);
    Post(round_->Freeze(names_, now_));
    Carry();  // survivors, endorsements
    Require(opened_);
    Capture("");
    Require(scenes_.size() == 5);
  }
  void TestBody() override {}

  const std::vector<Scene>& scenes() const { return scenes_; }

  // Her agent starts with `session` in the place of the scene's, hears `message` and then, where
  // that changed nothing, the scene's own; perhaps it starts once more from what it has stored.
  void GoOn(const Scene& scene, const std::string& session, const std::string& message,
            bool restarts) {
    const fs::path work = folder_ / "work";
    fs::remove_all(work);
    fs::copy(scene.state, work, fs::copy_options::recursive);
    const bool honest = session == scene.session;
    if (!honest) Require((*MaskingStore::Open(work))->PutSession(task_.key, session).ok());
    auto desk = Open(work);
    MaskingDesk::Answer answer = desk->On(Said(message));
    if (honest && message == scene.message) Check(scene, *desk, answer);
    if (honest && !answer.refused && answer.bytes.empty()) {
      answer = desk->On(Said(scene.message));
      Require(!scene.answered || !answer.bytes.empty());
    }
    if (restarts) desk = Open(work);
    const bool keys = desk->Begin(task_).ok();
    Require(keys || !honest || answer.refused);
    desk->Leave(task_.key);
    desk->EndRounds(task_.key.job, task_.key.round);
  }

 private:
  std::unique_ptr<MaskingDesk> Open(const fs::path& state) {
    return *MaskingDesk::Open(policy_, folder_ / kAgent, state, {}, [this] { return unix_s_; });
  }
  void Check(const Scene& scene, MaskingDesk& desk, const MaskingDesk::Answer& answer) {
    Require(!answer.refused && answer.bytes.empty() == !scene.answered);
    const bool forward = !scene.message.empty() && scene.file.empty() && !scene.answered;
    if (!forward && scene.file.empty()) return;
    const auto file = FileOf(desk, kAgent);
    Require(file.ok() && (forward || *file == scene.file));
  }
  void Capture(const std::string& message) {
    desks_.erase(kAgent);
    const fs::path state = folder_ / ("scene" + std::to_string(scenes_.size()));
    fs::copy(folder_ / kAgent / "state", state, fs::copy_options::recursive);
    const std::vector<std::string> sessions = (*MaskingStore::Open(state))->Sessions();
    Require(sessions.size() == 1);
    scenes_.push_back({state, sessions[0], message, false, files_[kAgent]});
  }
  void Carry() {
    while (!mail_.empty()) {
      const Mail message = mail_.front();
      mail_.erase(mail_.begin());
      const bool hers = message.client == kAgent;
      if (hers) Capture(message.bytes);
      const MaskingDesk::Answer answer = DeskOf(message.client).On(Said(message.bytes));
      Require(!answer.refused);
      if (answer.bytes.empty()) continue;
      if (hers) scenes_.back().answered = true;
      Tell(message.client, answer.bytes);
    }
  }

  std::vector<Scene> scenes_;
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

// An agent's stored part in a masked attempt and the coordinator's next message, either with edits:
// the agent starts and answers whatever they have become; what is refused without an end of the
// attempt leaves it as it was. The first byte says how far the attempt has come, the second how
// many edits are the session's (the rest are the message's) and whether the agent starts twice.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static AgentsAttempt attempt;
  if (size < 2) return 0;
  const AgentsAttempt::Scene& scene = attempt.scenes()[data[0] % attempt.scenes().size()];
  const std::string_view edits(reinterpret_cast<const char*>(data + 2),
                               std::min<size_t>(size - 2, 100));
  const size_t own = std::min<size_t>(data[1] % 8 * 5, edits.size());
  attempt.GoOn(scene, Edited(scene.session, edits.substr(0, own)),
               Edited(scene.message, edits.substr(own)), data[1] >= 128);
  return 0;
}
