#include "common/rpc/credentials.h"

#include <arpa/inet.h>

#include <cstdio>
#include <cstdlib>

#include "common/rpc/chunk.h"

namespace rivulet {
namespace {

// The host of "host:port" or "[v6]:port".
std::string_view HostOf(std::string_view address) {
  if (address.starts_with('[')) {
    const size_t end = address.find(']');
    return end == std::string_view::npos ? address : address.substr(1, end - 1);
  }
  return address.substr(0, address.rfind(':'));
}

}  // namespace

void RequireTls13() {
  setenv("GRPC_SSL_CIPHER_SUITES", "PSK-AES256-GCM-SHA384",
         1);  // TLS 1.2 without a shared key: none
}

std::shared_ptr<grpc::ServerCredentials> MutualTlsServer(const TlsFiles& files) {
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = files.roots_pem;
  options.pem_key_cert_pairs.push_back({files.key_pem, files.chain_pem});
  return grpc::SslServerCredentials(options);
}

std::shared_ptr<grpc::ChannelCredentials> MutualTlsClient(const TlsFiles& files) {
  return grpc::SslCredentials({files.roots_pem, files.key_pem, files.chain_pem});
}

grpc::ChannelArguments ChannelLimits() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 75'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, 8 << 10);
  arguments.SetInt(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  // Bytes under way to a stream before somebody reads them: at 100 ms there and back 160 MB/s for a
  // download. gRPC's own guess, which begins at 4 MiB, costs a ping for every few messages, more
  // bytes than a small update has.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16 << 20);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, 4 << 20);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Reconnecting is the session's business; the channel must not sit out long waits of its own.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  // This one is, besides, the time that TCP and TLS may take: several round trips. A refused
  // connection does not wait for it, and every new stream of an agent has a new channel.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  return arguments;
}

bool IsLoopback(std::string_view address) {
  const std::string host(HostOf(address));
  if (host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

absl::Status CheckInsecureAddress(std::string_view address) {
  if (IsLoopback(address)) return absl::OkStatus();
  return WithExit(Refuse(absl::StatusCode::kFailedPrecondition,
                         "--insecure: got address '" + std::string(address) +
                             "', want one of this machine alone (127.0.0.1, ::1, localhost)"),
                  ExitCode::kUsage);
}

void WarnInsecure(std::string_view program) {
  std::fprintf(
      stderr,
      "%.*s: INSECURE: no TLS, no identities; anybody on this machine can join, listen and "
      "command\n",
      static_cast<int>(program.size()), program.data());
}

}  // namespace rivulet
