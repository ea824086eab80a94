#include "coordinator/rpc/agent_streams.h"

#include <grpcpp/impl/codegen/proto_utils.h>

#include <algorithm>

#include "common/rpc/hash_bytes.h"
#include "common/utf8.h"
#include "coordinator/rounds/federation.h"

namespace rivulet {

namespace {
constexpr size_t kLongestSoftware = 128;
constexpr size_t kMostCertificates = 256;  // of one message
}  // namespace

void AgentStreams::Join(const ClientFacts& facts, AgentDetails details, AgentStream& stream) {
  details.software = Tidy(details.software, kLongestSoftware);  // what an agent says of itself
  const std::lock_guard membership(membership_);
  {
    const std::lock_guard lock(streams_mutex_);
    AgentStream*& place = streams_[facts.name];
    if (place != nullptr) {
      place->End(Refuse(absl::StatusCode::kAborted,
                        "a newer connection of '" + facts.name + "' took over", Remedy::kLeaveRun));
    }
    place = &stream;
    details_[facts.name] = std::move(details);
  }
  federation_->Connected(facts);
}

void AgentStreams::Leave(const std::string& client, AgentStream& stream) {
  const std::lock_guard membership(membership_);
  {
    const std::lock_guard lock(streams_mutex_);
    const auto place = streams_.find(client);
    if (place == streams_.end() || place->second != &stream) return;
    streams_.erase(place);
  }
  federation_->Disconnected(client);
}

void AgentStreams::Drain(std::chrono::milliseconds reconnect_after) {
  const std::lock_guard lock(streams_mutex_);
  draining_ = true;
  v1::CoordinatorMessage message;
  message.mutable_drain()->set_reconnect_after_ms(static_cast<uint64_t>(reconnect_after.count()));
  for (const auto& [client, stream] : streams_) {
    stream->Push(message);
    stream->End(
        Refuse(absl::StatusCode::kUnavailable, "the coordinator stops", Remedy::kRetryLater));
  }
}

bool AgentStreams::draining() const {
  const std::lock_guard lock(streams_mutex_);
  return draining_;
}

size_t AgentStreams::size() const {
  const std::lock_guard lock(streams_mutex_);
  return streams_.size();
}

std::map<std::string, AgentDetails> AgentStreams::details() const {
  const std::lock_guard lock(streams_mutex_);
  return details_;
}

void AgentStreams::Send(const std::string& client, const ClientTask& task) {
  v1::CoordinatorMessage message;
  *message.mutable_task() = ToWire(task);
  Push(client, std::move(message));
}

void AgentStreams::Cancel(const std::string& client, const std::string& job_id, uint64_t round,
                          uint32_t attempt, const std::string& reason) {
  v1::CoordinatorMessage message;
  v1::TaskKey& key = *message.mutable_cancel()->mutable_key();
  key.set_job(job_id);
  key.set_round(round);
  key.set_attempt(attempt);
  message.mutable_cancel()->set_reason(reason);
  Push(client, std::move(message));
}

void AgentStreams::Tell(const std::vector<std::string>& clients, const MaskingMessage& message) {
  const std::vector<std::string>& certificates = message.certificates;
  size_t first = 0;
  do {
    v1::CoordinatorMessage part;
    v1::Masking& wire = *part.mutable_masking();
    wire.mutable_key()->set_job(message.job_id);
    wire.mutable_key()->set_round(message.round);
    wire.mutable_key()->set_attempt(message.attempt);
    const size_t end = std::min(certificates.size(), first + kMostCertificates);
    for (; first < end; ++first) wire.add_certificates(certificates[first]);
    if (first == certificates.size()) wire.set_message(message.bytes);
    PushToAll(clients, ToBytes(part));
  } while (first < certificates.size());
}

void AgentStreams::Push(const std::string& client, v1::CoordinatorMessage message) {
  const std::lock_guard lock(streams_mutex_);
  const auto place = streams_.find(client);
  if (place != streams_.end()) place->second->Push(std::move(message));
}

void AgentStreams::PushToAll(const std::vector<std::string>& clients,
                             const grpc::ByteBuffer& message) {
  const std::lock_guard lock(streams_mutex_);
  for (const std::string& client : clients) {
    const auto place = streams_.find(client);
    if (place != streams_.end()) place->second->PushBytes(message);
  }
}

grpc::ByteBuffer ToBytes(const v1::CoordinatorMessage& message) {
  grpc::ByteBuffer bytes;
  bool owned = false;
  // Fails only for messages of 2 GiB.
  (void)grpc::SerializationTraits<v1::CoordinatorMessage>::Serialize(message, &bytes, &owned);
  return bytes;
}

v1::Task ToWire(const ClientTask& task) {
  v1::Task wire;
  wire.set_kind(task.kind == ClientTask::Kind::kTrain ? v1::Task::KIND_TRAIN
                                                      : v1::Task::KIND_EVALUATE);
  wire.mutable_key()->set_job(task.job_id);
  wire.mutable_key()->set_round(task.round);
  wire.mutable_key()->set_attempt(task.attempt);
  wire.set_job_document(task.job_document);
  wire.set_job_sha256(BytesOfHex(task.job_sha256));
  wire.set_state_sha256(BytesOfHex(task.state_sha256));
  wire.set_state_bytes(task.state_bytes);
  wire.set_deadline_ms(static_cast<uint64_t>(task.deadline.count()));
  wire.set_epoch(task.epoch);
  wire.set_masking(task.masking);
  wire.set_choice(task.choice);
  if (task.log) {
    v1::StateLog& log = *wire.mutable_log();
    log.set_sha256(BytesOfHex(task.log->sha256));
    log.set_bytes(task.log->bytes);
    log.set_from(task.log->from);
    log.set_rest(task.log->rest);
    if (const auto& snapshot = task.log->snapshot) {
      log.mutable_snapshot()->set_sha256(BytesOfHex(snapshot->sha256));
      log.mutable_snapshot()->set_bytes(snapshot->bytes);
      log.mutable_snapshot()->set_at(snapshot->at);
    }
  }
  return wire;
}

}  // namespace rivulet
