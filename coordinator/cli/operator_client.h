#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "coordinator/cli/operator_settings.h"
#include "rivulet/v1/operations.grpc.pb.h"

namespace rivulet {

// The coordinator as an operator sees it. Blocking. Every call may fail with exit 4 and the reason
// (nobody listens, certificate expired or foreign, role).
class OperatorClient {
 public:
  static absl::StatusOr<OperatorClient> Connect(const OperatorSettings& settings);

  // `base_tensors`: the file that the document names (BaseTensorsFile), or empty.
  absl::StatusOr<std::string> Submit(const std::string& document, const std::string& token,
                                     const std::string& base_tensors);
  absl::StatusOr<v1::ListReply> List();
  absl::StatusOr<v1::Job> Show(const std::string& job);
  absl::StatusOr<std::string> Stop(const std::string& job, bool now);
  absl::StatusOr<v1::ArtifactsReply> Artifacts(const std::string& job);
  // Verified against the artifact's hash and size; a broken connection is resumed.
  absl::StatusOr<std::string> Fetch(const std::string& job, const v1::Artifact& artifact);
  absl::StatusOr<v1::NodesReply> Nodes();
  absl::StatusOr<v1::LedgerReply> Ledger(const std::string& job);
  // Until the job has ended (OK), the stream breaks or `stop` is requested (Cancelled).
  absl::Status Watch(const std::string& job, std::stop_token stop,
                     const std::function<void(const v1::JobEvent&)>& seen);

 private:
  using Stub = v1::Operations::Stub;
  template <typename Request, typename Reply>
  using Method = grpc::Status (Stub::*)(grpc::ClientContext*, const Request&, Reply*);

  OperatorClient(std::shared_ptr<Stub> stub, std::string address, std::string insecure_uri)
      : stub_(std::move(stub)),
        address_(std::move(address)),
        insecure_uri_(std::move(insecure_uri)) {}
  template <typename Request, typename Reply>
  absl::StatusOr<Reply> Call(Method<Request, Reply> method, const Request& request);
  // With the address when nobody is there.
  absl::Status Ended(const grpc::Status& status, const grpc::ClientContext& context) const;
  void Prepare(grpc::ClientContext& context, bool stream) const;
  absl::Status FetchOnce(const v1::FetchRequest& request, uint64_t limit, std::string& bytes);

  std::shared_ptr<Stub> stub_;
  std::string address_;
  std::string insecure_uri_;
};

}  // namespace rivulet
