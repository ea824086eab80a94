#include "tests/integration/frail_link.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <utility>

#include "privacy/secagg/shared/messages.h"

namespace rivulet {
namespace {

void DieAt(std::string_view where) {
  const char* text = std::getenv("TOY_DIE");
  if (text != nullptr && text == where) std::raise(SIGKILL);
}

class FrailLink final : public CoordinatorLink {
 public:
  explicit FrailLink(std::unique_ptr<CoordinatorLink> link) : link_(std::move(link)) {}

  void Open(const AgentFacts& facts, Sink sink) override { link_->Open(facts, std::move(sink)); }
  void Close() override { link_->Close(); }
  void Report(const Outcome& outcome) override { link_->Report(outcome); }
  void Beat(const std::string& activity) override { link_->Beat(activity); }
  void SendMasking(const TaskKey& key, const std::string& bytes) override {
    using secagg::MessageKind;
    switch (bytes.empty() ? MessageKind{} : static_cast<MessageKind>(bytes[0])) {
      case MessageKind::kAdvertisement:
        DieAt("before-keys");
        break;
      case MessageKind::kShares:
        DieAt("before-shares");
        break;
      case MessageKind::kEndorsement:
        DieAt("before-endorsement");
        break;
      case MessageKind::kUnmask:
        DieAt("before-unmask");
        HoldBack();
        break;
      default:
        break;
    }
    link_->SendMasking(key, bytes);
  }
  absl::Status Download(const std::string& sha256, uint64_t bytes,
                        const std::filesystem::path& partial, std::stop_token stop,
                        uint64_t from) override {
    return link_->Download(sha256, bytes, partial, std::move(stop), from);
  }
  absl::Status Upload(const Outcome& outcome, std::string_view file) override {
    DieAt("before-upload");
    const absl::Status sent = link_->Upload(outcome, file);
    if (sent.ok()) DieAt("after-upload");
    return sent;
  }

 private:
  static void HoldBack() {
    const char* text = std::getenv("TOY_UNMASK_DELAY_MS");
    if (text != nullptr) std::this_thread::sleep_for(std::chrono::milliseconds(std::atoi(text)));
  }
  const std::unique_ptr<CoordinatorLink> link_;
};

}  // namespace

std::unique_ptr<CoordinatorLink> MakeFrail(std::unique_ptr<CoordinatorLink> link) {
  return std::make_unique<FrailLink>(std::move(link));
}

}  // namespace rivulet
