#include <spdlog/spdlog.h>

#include <cmath>
#include <optional>

#include "common/formats/safetensors.h"
#include "common/rpc/hash_bytes.h"
#include "coordinator/rpc/agent_message.h"
#include "coordinator/rpc/upload_wire.h"
#include "tests/fuzz/require.h"
#include "tests/unit/coordinator/rounds/toy_federation.h"

using namespace rivulet;

namespace {

enum class Step : uint8_t { kMessage, kUpload, kHalfClose, kTime, kOthers };
constexpr uint8_t kSteps = 5;

JobSpec OneRound() {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 1;
  return spec;
}

// A coordinator's rooms behind its rpcs, in memory, with one job of three clients. "ann" and "bob"
// are honest; "eve" says what the input has.
class Coordinator {
 public:
  Coordinator() { Start(); }

  void Say(std::string_view bytes) {
    v1::AgentMessage message;
    if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
    if (message.has_hello() && CheckHello(message.hello()).ok()) {
      federation_->Connected(FactsOf({"demo", "lab", "eve"}, message.hello(), ""));
    } else if (message.has_failure()) {
      Fill(*message.mutable_failure()->mutable_key());
      const auto failure = FailureOf("eve", message.failure());
      if (failure.ok()) (void)federation_->Report({*failure});
    } else if (message.has_evaluation()) {
      Fill(*message.mutable_evaluation()->mutable_key());
      const auto evaluation = EvaluationOf("eve", message.evaluation());
      if (evaluation.ok()) (void)federation_->Report({*evaluation});
    } else if (message.has_masking()) {
      Fill(*message.mutable_masking()->mutable_key());
      const auto masking = MaskingMessageOf(message.masking());
      if (masking.ok()) Require(!federation_->Masking("eve", *masking).ok());  // no masks here
    }
  }

  void Upload(std::string_view bytes) {
    grpc::Slice slice{std::string(bytes)};
    grpc::ByteBuffer message(&slice, 1);
    if (upload_ != nullptr) {
      const auto chunk = ReadWireChunk(message);
      if (chunk.ok()) (void)upload_->AppendPieces(chunk->offset, chunk->pieces);
      return;
    }
    auto parsed = ParseUploadMessage(message);
    if (!parsed.ok()) return;
    Fill(*parsed->mutable_begin()->mutable_key());
    if (parsed->begin().sha256() == std::string(32, '\0')) {
      parsed->mutable_begin()->set_sha256(BytesOfHex(Sha256Hex(honest_)));
    }
    const auto header = HeaderOf(*parsed);
    if (!header.ok()) return;
    auto session = federation_->BeginUpload("eve", *header);
    if (session.ok()) upload_ = *std::move(session);
  }

  void HalfClose() {
    if (upload_ == nullptr) return;
    const auto receipt = upload_->Finish();
    Require(!receipt.ok() || receipt->job_id == job_);
    upload_ = nullptr;
  }

  void Pass(std::chrono::milliseconds time) {
    clock_.Advance(time);
    federation_->Tick();
  }

  void WorkOfTheOthers() {
    federation_->Tick();
    const std::deque<ToyGateway::Order> orders = std::exchange(gateway_.orders, {});
    for (const ToyGateway::Order& order : orders) {
      if (order.client != "eve") (void)ToyWork(*federation_, order);
    }
  }

  // Eve goes. Whatever she said, the job goes on to its end, also in a process that starts anew.
  void End() {
    upload_ = nullptr;
    federation_->Disconnected("eve");
    Start();
    for (const char* name : {"ann", "bob"}) federation_->Connected(ToyClient(name));
    for (int step = 0; step < 100 && !*federation_->Ended(job_); ++step) {
      WorkOfTheOthers();
      Pass(std::chrono::seconds(30));
    }
    Require(*federation_->Ended(job_));
    const std::vector<NamedBlob> downloads = *federation_->Downloads(job_);
    for (const NamedBlob& blob : downloads) {
      const Manifest manifest = ToyManifest();
      const auto state = ReadParameterSet(*blobs_->Get(blob.sha256, blob.bytes), &manifest);
      Require(state.ok() && CheckFinite(*state).ok());
    }
  }

 private:
  void Start() {
    federation_.reset();
    gateway_.orders.clear();
    FederationConfig config;
    config.planner = ToyPlanner(OneRound());
    config.background = false;
    federation_ = std::make_unique<Federation>(config, *states_, *blobs_, gateway_, clock_);
    Require(federation_->Recover().ok());
    if (!job_.empty()) return;
    for (const char* name : {"ann", "bob", "eve"}) federation_->Connected(ToyClient(name));
    job_ = *federation_->Submit({"toy", ""});
    for (int step = 0; step < 2; ++step) {  // the evaluation of the initial state; round 1 opens
      federation_->Tick();
      const std::deque<ToyGateway::Order> orders = std::exchange(gateway_.orders, {});
      for (const ToyGateway::Order& order : orders) {
        if (order.task.kind == ClientTask::Kind::kEvaluate) {
          Require(ToyWork(*federation_, order).ok());
        } else {
          gateway_.orders.push_back(order);
        }
      }
    }
    Require(gateway_.orders.size() == 3);
    honest_ = ToyTrain("eve", 1, gateway_.orders.front().task.state_sha256).file;
  }

  // "@" is the job: its id is drawn.
  void Fill(v1::TaskKey& key) const {
    if (key.job() == "@") key.set_job(job_);
  }

  std::unique_ptr<StateStore> states_ = MakeMemoryStateStore();
  std::unique_ptr<BlobStore> blobs_ = MakeMemoryBlobStore();
  ToyGateway gateway_;
  VirtualClock clock_;
  std::unique_ptr<Federation> federation_;
  std::string job_, honest_;
  std::shared_ptr<UploadSession> upload_;
};

}  // namespace

// What an agent sends over its streams: steps of a kind, a length (two bytes) and as many bytes.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  spdlog::set_level(spdlog::level::off);
  Coordinator site;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  while (rest.size() >= 3) {
    const auto step = static_cast<Step>(static_cast<uint8_t>(rest[0]) % kSteps);
    const size_t length = static_cast<uint8_t>(rest[1]) | static_cast<uint8_t>(rest[2]) << 8;
    rest.remove_prefix(3);
    const std::string_view bytes = rest.substr(0, length);
    rest.remove_prefix(bytes.size());
    switch (step) {
      case Step::kMessage:
        site.Say(bytes);
        break;
      case Step::kUpload:
        site.Upload(bytes);
        break;
      case Step::kHalfClose:
        site.HalfClose();
        break;
      case Step::kTime:
        site.Pass(std::chrono::milliseconds(1000 * length));
        break;
      case Step::kOthers:
        site.WorkOfTheOthers();
        break;
    }
  }
  site.End();
  return 0;
}
