#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <memory>
#include <string>

#include "common/status.h"

namespace rivulet {

// PEM texts of one holder: private key, chain (leaf first), and the roots it trusts.
struct TlsFiles {
  std::string key_pem;
  std::string chain_pem;
  std::string roots_pem;
};

// Call first in main: TLS 1.3 only. gRPC 1.51 has no switch for it, so no cipher suite of TLS 1.2
// that could be agreed on is left.
void RequireTls13();

// A server that talks HTTP/2 only to peers whose certificate one of the roots vouches for.
std::shared_ptr<grpc::ServerCredentials> MutualTlsServer(const TlsFiles& files);
std::shared_ptr<grpc::ChannelCredentials> MutualTlsClient(const TlsFiles& files);

// Limits and keepalive of a channel to the coordinator.
grpc::ChannelArguments ChannelLimits();

// Whether "host:port" names this machine alone: the only place where --insecure is allowed. The
// host is an address of 127.0.0.0/8, ::1 or the word localhost; other names are not resolved.
bool IsLoopback(std::string_view address);
// FailedPrecondition (exit 2) naming the address when it is not.
absl::Status CheckInsecureAddress(std::string_view address);
// "program: INSECURE: ..." on stderr, whatever the log level.
void WarnInsecure(std::string_view program);

}  // namespace rivulet
