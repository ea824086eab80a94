#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include "common/status.h"

namespace rivulet {

// The same code and message (at most 2 KiB of it); remedy and exit code go into the trailers
// `rivulet-remedy` and `rivulet-exit`.
grpc::Status ToGrpc(const absl::Status& status, grpc::ServerContextBase& context);

// The status a call ended with, remedy and exit code back in place. A transport error that says
// why (certificate, refused connection) keeps the sentence.
absl::Status FromGrpc(const grpc::Status& status, const grpc::ClientContext& context);

}  // namespace rivulet
