#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/rpc/credentials.h"
#include "coordinator/rpc/federation_service.h"
#include "coordinator/rpc/operations_service.h"

namespace rivulet {

struct ServerOptions {
  std::vector<std::string> listen;  // "host:port"; port 0 takes a free one; duplicates are one
  std::optional<TlsFiles> tls;      // absent: --insecure, every address must be loopback
};

// The gRPC server over both services. Stops in its destructor.
class CoordinatorServer {
 public:
  // `service` must outlive it. Errors: Unavailable (exit 4) naming the address and why it cannot be
  // listened on; FailedPrecondition (exit 2) for an insecure address off this machine.
  static absl::StatusOr<std::unique_ptr<CoordinatorServer>> Start(const ServerOptions& options,
                                                                  ServiceContext& service);
  ~CoordinatorServer();

  const std::vector<int>& ports() const { return ports_; }  // in the order of `listen`
  // No new calls; those under way get `patience` to end.
  void Stop(std::chrono::milliseconds patience);

 private:
  explicit CoordinatorServer(ServiceContext& service)
      : federation_(service), operations_(service) {}

  FederationService federation_;
  OperationsService operations_;
  std::vector<int> ports_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace rivulet
