#include "coordinator/rpc/server.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_builder.h>
#ifndef NDEBUG
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#endif
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "common/rpc/chunk.h"

namespace rivulet {
namespace {

absl::Status CannotListen(const std::string& address, const std::string& why) {
  return WithExit(Refuse(absl::StatusCode::kUnavailable, "listen: " + address + ": " + why),
                  ExitCode::kConnection);
}

// gRPC only says that it did not work; this says why ("Address already in use").
absl::Status CheckFree(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return CannotListen(address, "want host:port");
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error =
          getaddrinfo(host.c_str(), address.substr(colon + 1).c_str(), &hints, &found);
      error != 0) {
    return CannotListen(address, gai_strerror(error));
  }
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool free = bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 1) == 0;
  const int error = errno;
  close(fd);
  freeaddrinfo(found);
  return free ? absl::OkStatus() : CannotListen(address, std::strerror(error));
}

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 8 << 10);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 16);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 300'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, 3'600'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, 600'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  // Bytes under way to a stream before somebody reads them: at 100 ms there and back 20 MB/s for
  // one upload. gRPC's own guess grows with the line, to tens of MiB for each of many uploads.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 2 << 20);
  builder.SetResourceQuota(
      grpc::ResourceQuota("rivulet").Resize(size_t{1} << 30).SetMaxThreads(64));
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> CredentialsOf(
    const ServerOptions& options) {
  if (options.tls.has_value()) return MutualTlsServer(*options.tls);
  for (const std::string& address : options.listen) {
    RV_RETURN_IF_ERROR(CheckInsecureAddress(address));
  }
  return grpc::InsecureServerCredentials();
}

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorServer>> CoordinatorServer::Start(
    const ServerOptions& options, ServiceContext& service) {
  RV_ASSIGN_OR_RETURN(const auto credentials, CredentialsOf(options));
  auto server = std::unique_ptr<CoordinatorServer>(new CoordinatorServer(service));
  grpc::EnableDefaultHealthCheckService(true);
#ifndef NDEBUG
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
#endif
  grpc::ServerBuilder builder;
  SetLimits(builder);
  server->ports_.resize(options.listen.size(), 0);
  for (size_t row = 0; row < options.listen.size(); ++row) {
    RV_RETURN_IF_ERROR(CheckFree(options.listen[row]));
    builder.AddListeningPort(options.listen[row], credentials, &server->ports_[row]);
  }
  builder.RegisterService(&server->federation_);
  builder.RegisterService(&server->operations_);
  server->server_ = builder.BuildAndStart();
  const auto& ports = server->ports_;
  const auto refused = std::find(ports.begin(), ports.end(), 0);
  if (server->server_ == nullptr || refused != ports.end()) {
    const size_t row = refused == ports.end() ? 0 : static_cast<size_t>(refused - ports.begin());
    return CannotListen(options.listen[row],
                        "gRPC could not bind it; are key and certificate a pair?");
  }
  return server;
}

void CoordinatorServer::Stop(std::chrono::milliseconds patience) {
  if (server_ == nullptr) return;
  operations_.Shutdown();
  server_->Shutdown(std::chrono::system_clock::now() + patience);
  server_->Wait();
  server_.reset();
}

CoordinatorServer::~CoordinatorServer() { Stop(std::chrono::milliseconds(0)); }

}  // namespace rivulet
