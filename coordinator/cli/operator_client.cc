#include "coordinator/cli/operator_client.h"

#include <grpcpp/create_channel.h>

#include "common/io/sha256.h"
#include "common/rpc/chunk.h"
#include "common/rpc/credentials.h"
#include "common/rpc/hash_bytes.h"
#include "common/rpc/status_mapping.h"
#include "privacy/crypto/pki_directory.h"

namespace rivulet {
namespace {

constexpr char kInsecureNameKey[] = "rivulet-insecure-name";
constexpr char kInsecureOperator[] = "rivulet://insecure/local/operator/operator";
constexpr std::chrono::seconds kDeadline{30};
constexpr std::chrono::minutes kSubmitDeadline{10};  // with base tensors
constexpr int kFetchTries = 5;

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> CredentialsOf(
    const OperatorSettings& settings) {
  if (settings.insecure) return grpc::InsecureChannelCredentials();
  RV_ASSIGN_OR_RETURN(const Credentials files, ReadValidCredentials(settings.tls_dir, true));
  return MutualTlsClient({files.key_pem, files.chain_pem, files.roots_pem});
}

}  // namespace

absl::StatusOr<OperatorClient> OperatorClient::Connect(const OperatorSettings& settings) {
  RV_ASSIGN_OR_RETURN(const auto credentials, CredentialsOf(settings));
  const auto channel =
      grpc::CreateCustomChannel(settings.coordinator, credentials, ChannelLimits());
  return OperatorClient(v1::Operations::NewStub(channel), settings.coordinator,
                        settings.insecure ? kInsecureOperator : "");
}

void OperatorClient::Prepare(grpc::ClientContext& context, bool stream) const {
  if (!insecure_uri_.empty()) context.AddMetadata(kInsecureNameKey, insecure_uri_);
  if (!stream) context.set_deadline(std::chrono::system_clock::now() + kDeadline);
}

absl::Status OperatorClient::Ended(const grpc::Status& status,
                                   const grpc::ClientContext& context) const {
  const absl::Status ended = FromGrpc(status, context);
  return ended.code() == absl::StatusCode::kUnavailable ? Annotate(ended, "coordinator " + address_)
                                                        : ended;
}

template <typename Request, typename Reply>
absl::StatusOr<Reply> OperatorClient::Call(Method<Request, Reply> method, const Request& request) {
  grpc::ClientContext context;
  Prepare(context, false);
  Reply reply;
  RV_RETURN_IF_ERROR(Ended((stub_.get()->*method)(&context, request, &reply), context));
  return reply;
}

absl::StatusOr<std::string> OperatorClient::Submit(const std::string& document,
                                                   const std::string& token,
                                                   const std::string& base_tensors) {
  grpc::ClientContext context;
  Prepare(context, false);
  if (!base_tensors.empty()) {
    context.set_deadline(std::chrono::system_clock::now() + kSubmitDeadline);
  }
  v1::SubmitReply reply;
  const auto stream = stub_->Submit(&context, &reply);
  v1::SubmitRequest message;
  message.set_document(document);
  message.set_submit_token(token);
  bool wanted = stream->Write(message);  // false: the answer is there already
  message.Clear();
  for (size_t offset = 0; wanted && offset < base_tensors.size(); offset += kChunkBytes) {
    message.set_base_tensors(base_tensors.substr(offset, kChunkBytes));
    wanted = stream->Write(message);
  }
  if (wanted) stream->WritesDone();
  RV_RETURN_IF_ERROR(Ended(stream->Finish(), context));
  return reply.job();
}

absl::StatusOr<v1::ListReply> OperatorClient::List() {
  return Call(&Stub::List, v1::ListRequest());
}

absl::StatusOr<v1::Job> OperatorClient::Show(const std::string& job) {
  v1::ShowRequest request;
  request.set_job(job);
  return Call(&Stub::Show, request);
}

absl::StatusOr<std::string> OperatorClient::Stop(const std::string& job, bool now) {
  v1::StopRequest request;
  request.set_job(job);
  request.set_now(now);
  RV_ASSIGN_OR_RETURN(const v1::StopReply reply, Call(&Stub::Stop, request));
  return reply.job();
}

absl::StatusOr<v1::ArtifactsReply> OperatorClient::Artifacts(const std::string& job) {
  v1::ArtifactsRequest request;
  request.set_job(job);
  return Call(&Stub::Artifacts, request);
}

absl::StatusOr<v1::NodesReply> OperatorClient::Nodes() {
  return Call(&Stub::Nodes, v1::NodesRequest());
}

absl::StatusOr<v1::LedgerReply> OperatorClient::Ledger(const std::string& job) {
  v1::LedgerRequest request;
  request.set_job(job);
  return Call(&Stub::Ledger, request);
}

absl::Status OperatorClient::FetchOnce(const v1::FetchRequest& request, uint64_t limit,
                                       std::string& bytes) {
  grpc::ClientContext context;
  Prepare(context, true);
  const auto stream = stub_->Fetch(&context, request);
  v1::FetchChunk chunk;
  bool in_place = true;
  while (in_place && stream->Read(&chunk)) {
    in_place = chunk.offset() == bytes.size() && chunk.data().size() <= limit - bytes.size();
    if (in_place) bytes += chunk.data();
  }
  if (!in_place) context.TryCancel();
  const absl::Status ended = Ended(stream->Finish(), context);
  if (!in_place) return Refuse(absl::StatusCode::kDataLoss, "download: a chunk out of place");
  return ended;
}

absl::StatusOr<std::string> OperatorClient::Fetch(const std::string& job,
                                                  const v1::Artifact& artifact) {
  v1::FetchRequest request;
  request.set_job(job);
  request.set_sha256(artifact.sha256());
  std::string bytes;
  absl::Status status;
  for (int attempt = 0; attempt < kFetchTries && bytes.size() < artifact.bytes(); ++attempt) {
    request.set_offset(bytes.size());
    status = FetchOnce(request, artifact.bytes(), bytes);
    if (!status.ok() && status.code() != absl::StatusCode::kUnavailable) return status;
  }
  if (bytes.size() < artifact.bytes()) return status;
  if (const std::string got = Sha256Hex(bytes); got != HexOfBytes(artifact.sha256())) {
    return Refuse(absl::StatusCode::kDataLoss, artifact.name() + ": got hash " + got + ", want " +
                                                   HexOfBytes(artifact.sha256()));
  }
  return bytes;
}

absl::Status OperatorClient::Watch(const std::string& job, std::stop_token stop,
                                   const std::function<void(const v1::JobEvent&)>& seen) {
  grpc::ClientContext context;
  Prepare(context, true);
  v1::WatchRequest request;
  request.set_job(job);
  const std::stop_callback on_stop(std::move(stop), [&context] { context.TryCancel(); });
  const auto stream = stub_->Watch(&context, request);
  v1::JobEvent event;
  while (stream->Read(&event)) seen(event);
  return Ended(stream->Finish(), context);
}

}  // namespace rivulet
