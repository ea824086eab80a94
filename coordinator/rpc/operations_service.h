#pragma once

#include "coordinator/rpc/service_context.h"
#include "rivulet/v1/operations.grpc.pb.h"

namespace rivulet {

// What operators ask (proto/rivulet/v1/operations.proto). Few callers: plain blocking handlers.
// `service` must outlive it.
class OperationsService final : public v1::Operations::Service {
 public:
  explicit OperationsService(ServiceContext& service) : service_(service) {}

  // Ends every Watch, so that the server can stop.
  void Shutdown() { stopping_ = true; }

  grpc::Status Submit(grpc::ServerContext* context, grpc::ServerReader<v1::SubmitRequest>* messages,
                      v1::SubmitReply* reply) override;
  grpc::Status List(grpc::ServerContext* context, const v1::ListRequest* request,
                    v1::ListReply* reply) override;
  grpc::Status Show(grpc::ServerContext* context, const v1::ShowRequest* request,
                    v1::Job* reply) override;
  grpc::Status Stop(grpc::ServerContext* context, const v1::StopRequest* request,
                    v1::StopReply* reply) override;
  grpc::Status Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::JobEvent>* events) override;
  grpc::Status Artifacts(grpc::ServerContext* context, const v1::ArtifactsRequest* request,
                         v1::ArtifactsReply* reply) override;
  grpc::Status Fetch(grpc::ServerContext* context, const v1::FetchRequest* request,
                     grpc::ServerWriter<v1::FetchChunk>* chunks) override;
  grpc::Status Nodes(grpc::ServerContext* context, const v1::NodesRequest* request,
                     v1::NodesReply* reply) override;
  grpc::Status Ledger(grpc::ServerContext* context, const v1::LedgerRequest* request,
                      v1::LedgerReply* reply) override;

 private:
  ServiceContext& service_;
  std::atomic<bool> stopping_{false};
};

}  // namespace rivulet
