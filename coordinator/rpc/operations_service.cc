#include "coordinator/rpc/operations_service.h"

#include <spdlog/spdlog.h>

#include <condition_variable>
#include <deque>

#include "common/rpc/chunk.h"
#include "common/rpc/hash_bytes.h"
#include "common/rpc/status_mapping.h"
#include "coordinator/rpc/views_to_wire.h"

namespace rivulet {
namespace {

constexpr size_t kMaxToken = 64;
constexpr size_t kMaxPendingEvents = 4096;
constexpr std::chrono::milliseconds kWatchPoll{250};

absl::Status CheckSubmit(const v1::SubmitRequest& request) {
  if (!request.base_tensors().empty()) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "first message: got base tensors, want document and token alone");
  }
  if (request.document().size() > kMaxDocumentBytes) {
    return Refuse(absl::StatusCode::kResourceExhausted,
                  "document: got " + std::to_string(request.document().size()) +
                      " bytes, want at most " + std::to_string(kMaxDocumentBytes));
  }
  if (request.submit_token().size() > kMaxToken) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "submit_token: got " + std::to_string(request.submit_token().size()) +
                      " bytes, want at most 64");
  }
  return absl::OkStatus();
}

// What follows the first message, to its end.
absl::Status ReadBaseTensors(grpc::ServerReader<v1::SubmitRequest>& messages, BlobWriter& file) {
  v1::SubmitRequest message;
  while (messages.Read(&message)) {
    const std::string& data = message.base_tensors();
    if (!message.document().empty() || !message.submit_token().empty() || data.empty() ||
        data.size() > kChunkBytes) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "base_tensors: got " + std::to_string(data.size()) + " bytes, want 1.." +
                        std::to_string(kChunkBytes) + " and nothing else in a later message");
    }
    RV_RETURN_IF_ERROR(
        Annotate(file.Append(std::as_bytes(std::span(data.data(), data.size()))), "base_tensors"));
  }
  return absl::OkStatus();
}

// The job's id.
absl::StatusOr<std::string> SubmitJob(ServiceContext& service,
                                      grpc::ServerReader<v1::SubmitRequest>& messages) {
  v1::SubmitRequest first;
  if (!messages.Read(&first)) {
    return Refuse(absl::StatusCode::kInvalidArgument, "got no message, want document and token");
  }
  RV_RETURN_IF_ERROR(CheckSubmit(first));
  JobSubmission submission{std::move(*first.mutable_document()), first.submit_token()};
  RV_ASSIGN_OR_RETURN(const SubmitNeeds needs, service.federation.NeedsOf(submission));
  if (!needs.job.empty()) return needs.job;
  // Dropped at the end: the first global state, stored by then, holds its values.
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> file,
                      service.blobs.Create(needs.base_tensors));
  RV_RETURN_IF_ERROR(ReadBaseTensors(messages, *file));
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> reader, file->Reread());
  submission.base_tensors = reader.get();
  return service.federation.Submit(submission);
}

// Between the federation's callback, which must not wait, and a caller who may be slow.
class EventQueue {
 public:
  void Add(const JobEvent& event) {
    {
      const std::lock_guard lock(mutex_);
      if (events_.size() >= kMaxPendingEvents) {
        events_.pop_front();
        ++lost_;
      }
      events_.push_back(event);
    }
    arrived_.notify_one();
  }

  std::optional<JobEvent> Next(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, patience, [this] { return !events_.empty(); });
    if (events_.empty()) return std::nullopt;
    JobEvent event = std::move(events_.front());
    events_.pop_front();
    if (lost_ > 0) event.data.emplace_back("lost", std::exchange(lost_, 0));
    return event;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<JobEvent> events_;
  int64_t lost_ = 0;
};

bool IsLast(const JobEvent& event) {
  return event.type == "job.completed" || event.type == "job.failed" || event.type == "job.stopped";
}

class Subscription {
 public:
  Subscription(Federation& federation, const std::string& job, EventQueue& queue)
      : federation_(federation),
        id_(federation.Subscribe(job, [&queue](const JobEvent& event) { queue.Add(event); })) {}
  ~Subscription() { federation_.Unsubscribe(id_); }

 private:
  Federation& federation_;
  const uint64_t id_;
};

absl::Status WatchJob(ServiceContext& service, const std::string& job,
                      const std::function<bool()>& gone, grpc::ServerWriter<v1::JobEvent>& events) {
  RV_ASSIGN_OR_RETURN(const std::string id, service.federation.Resolve(job));
  EventQueue queue;
  const Subscription subscription(service.federation, id, queue);
  while (!gone()) {
    // Asked before waiting: a job that ended before we subscribed sends nothing more.
    RV_ASSIGN_OR_RETURN(const bool ended, service.federation.Ended(id));
    while (std::optional<JobEvent> event =
               queue.Next(ended ? std::chrono::milliseconds(0) : kWatchPoll)) {
      if (!events.Write(ToWire(*event)) || IsLast(*event)) return absl::OkStatus();
    }
    if (ended) {  // before we subscribed
      RV_ASSIGN_OR_RETURN(const JobView view, service.federation.Show(id));
      events.Write(ToWire(LastEventOf(view)));
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

absl::Status SendBlob(ServiceContext& service, const v1::FetchRequest& request,
                      const std::function<bool()>& gone,
                      grpc::ServerWriter<v1::FetchChunk>& chunks) {
  RV_ASSIGN_OR_RETURN(const std::string job, service.federation.Resolve(request.job()));
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> blob,
                      service.federation.OpenDownload(job, HexOfBytes(request.sha256()), gone));
  uint64_t offset = request.offset();
  if (offset > blob->size()) {
    return Refuse(
        absl::StatusCode::kOutOfRange,
        "offset: got " + std::to_string(offset) + ", want at most " + std::to_string(blob->size()));
  }
  v1::FetchChunk chunk;
  while (offset < blob->size()) {
    std::string& data = *chunk.mutable_data();
    data.resize(std::min(blob->size() - offset, kChunkBytes));
    RV_RETURN_IF_ERROR(
        blob->Read(offset, std::as_writable_bytes(std::span(data.data(), data.size()))));
    chunk.set_offset(offset);
    offset += data.size();
    if (!chunks.Write(chunk)) return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status FillArtifacts(Federation& federation, const std::string& job,
                           v1::ArtifactsReply& reply) {
  RV_ASSIGN_OR_RETURN(const std::string id, federation.Resolve(job));
  RV_ASSIGN_OR_RETURN(const JobView view, federation.Show(id));
  RV_ASSIGN_OR_RETURN(const std::vector<NamedBlob> blobs, federation.Downloads(id));
  reply.set_job(id);
  reply.set_document(view.document);
  for (const NamedBlob& blob : blobs) {
    v1::Artifact& row = *reply.add_artifacts();
    row.set_name(blob.name);
    row.set_sha256(BytesOfHex(blob.sha256));
    row.set_bytes(blob.bytes);
    row.set_state_hash(blob.state_hash);
  }
  return absl::OkStatus();
}

}  // namespace

grpc::Status OperationsService::Submit(grpc::ServerContext* context,
                                       grpc::ServerReader<v1::SubmitRequest>* messages,
                                       v1::SubmitReply* reply) {
  const auto submit = [&]() -> absl::Status {
    RV_ASSIGN_OR_RETURN(const Identity caller, service_.Caller(*context, Rpc::kSubmit));
    RV_ASSIGN_OR_RETURN(const std::string id, SubmitJob(service_, *messages));
    spdlog::info("job {} submitted by {}", id, caller.name);
    reply->set_job(id);
    return absl::OkStatus();
  };
  return ToGrpc(submit(), *context);
}

grpc::Status OperationsService::List(grpc::ServerContext* context, const v1::ListRequest*,
                                     v1::ListReply* reply) {
  if (auto caller = service_.Caller(*context, Rpc::kList); !caller.ok()) {
    return ToGrpc(caller.status(), *context);
  }
  *reply = ToWire(service_.federation.List());
  return grpc::Status::OK;
}

grpc::Status OperationsService::Show(grpc::ServerContext* context, const v1::ShowRequest* request,
                                     v1::Job* reply) {
  const auto show = [&]() -> absl::Status {
    RV_RETURN_IF_ERROR(service_.Caller(*context, Rpc::kShow).status());
    RV_ASSIGN_OR_RETURN(const std::string id, service_.federation.Resolve(request->job()));
    RV_ASSIGN_OR_RETURN(const JobView view, service_.federation.Show(id));
    *reply = ToWire(view);
    return absl::OkStatus();
  };
  return ToGrpc(show(), *context);
}

grpc::Status OperationsService::Stop(grpc::ServerContext* context, const v1::StopRequest* request,
                                     v1::StopReply* reply) {
  const auto stop = [&]() -> absl::Status {
    RV_ASSIGN_OR_RETURN(const Identity caller, service_.Caller(*context, Rpc::kStop));
    RV_ASSIGN_OR_RETURN(const std::string id, service_.federation.Resolve(request->job()));
    RV_RETURN_IF_ERROR(service_.federation.Stop(id, request->now()));
    spdlog::info("job {} stopped by {}", id, caller.name);
    reply->set_job(id);
    return absl::OkStatus();
  };
  return ToGrpc(stop(), *context);
}

grpc::Status OperationsService::Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                                      grpc::ServerWriter<v1::JobEvent>* events) {
  if (auto caller = service_.Caller(*context, Rpc::kWatch); !caller.ok()) {
    return ToGrpc(caller.status(), *context);
  }
  const auto gone = [&] { return stopping_ || context->IsCancelled(); };
  return ToGrpc(WatchJob(service_, request->job(), gone, *events), *context);
}

grpc::Status OperationsService::Artifacts(grpc::ServerContext* context,
                                          const v1::ArtifactsRequest* request,
                                          v1::ArtifactsReply* reply) {
  if (auto caller = service_.Caller(*context, Rpc::kArtifacts); !caller.ok()) {
    return ToGrpc(caller.status(), *context);
  }
  return ToGrpc(FillArtifacts(service_.federation, request->job(), *reply), *context);
}

grpc::Status OperationsService::Fetch(grpc::ServerContext* context, const v1::FetchRequest* request,
                                      grpc::ServerWriter<v1::FetchChunk>* chunks) {
  if (auto caller = service_.Caller(*context, Rpc::kFetch); !caller.ok()) {
    return ToGrpc(caller.status(), *context);
  }
  const auto gone = [&] { return stopping_ || context->IsCancelled(); };
  return ToGrpc(SendBlob(service_, *request, gone, *chunks), *context);
}

grpc::Status OperationsService::Nodes(grpc::ServerContext* context, const v1::NodesRequest*,
                                      v1::NodesReply* reply) {
  if (auto caller = service_.Caller(*context, Rpc::kNodes); !caller.ok()) {
    return ToGrpc(caller.status(), *context);
  }
  const std::map<std::string, AgentDetails> details = service_.streams.details();
  for (const ClientView& client : service_.federation.Clients()) {
    v1::Node& node = *reply->add_nodes();
    node.set_name(client.name);
    node.set_connected(client.connected);
    node.set_task(client.task);
    node.set_queued(client.queued);
    node.set_last_seen_ms(client.last_seen_ms);
    if (const auto row = details.find(client.name); row != details.end()) {
      node.set_organisation(row->second.organisation);
      node.set_software(row->second.software);
      node.set_certificate_expiry_s(row->second.certificate_expiry_s);
      node.set_certificate_serial(row->second.certificate_serial);
    }
  }
  return grpc::Status::OK;
}

grpc::Status OperationsService::Ledger(grpc::ServerContext* context,
                                       const v1::LedgerRequest* request, v1::LedgerReply* reply) {
  constexpr size_t kMostBytes = size_t{3} << 20;
  if (auto caller = service_.Caller(*context, Rpc::kLedger); !caller.ok()) {
    return ToGrpc(caller.status(), *context);
  }
  const auto releases = service_.federation.Ledger(request->job());
  if (!releases.ok()) return ToGrpc(releases.status(), *context);
  size_t first = releases->size();
  for (size_t bytes = 0; first > 0 && bytes < kMostBytes; --first) {
    bytes += (*releases)[first - 1].row.size() + 128;
  }
  reply->set_left_out(first);
  for (; first < releases->size(); ++first) {
    const ReleaseView& release = (*releases)[first];
    v1::LedgerReply::Row& row = *reply->add_rows();
    row.set_job(release.job);
    row.set_round(release.round);
    row.set_row(release.row);
    row.set_target_epsilon(release.target_epsilon);
    row.set_target_delta(release.target_delta);
  }
  return grpc::Status::OK;
}

}  // namespace rivulet
