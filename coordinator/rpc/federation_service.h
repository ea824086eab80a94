#pragma once

#include "coordinator/rpc/reactors.h"

namespace rivulet {

// The data plane (proto/rivulet/v1/federation.proto). `service` must outlive it. Messages of Upload
// come unparsed (upload_wire.h), and so do those of Connect, which may be the same to many.
class FederationService final
    : public v1::Federation::WithRawCallbackMethod_Connect<
          v1::Federation::WithCallbackMethod_Download<
              v1::Federation::WithRawCallbackMethod_Upload<v1::Federation::Service>>> {
 public:
  explicit FederationService(ServiceContext& service) : service_(service) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Connect(
      grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<v1::Chunk>* Download(grpc::CallbackServerContext* context,
                                                const v1::DownloadRequest* request) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Upload(
      grpc::CallbackServerContext* context) override;

 private:
  ServiceContext& service_;
};

}  // namespace rivulet
