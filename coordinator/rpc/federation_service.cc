#include "coordinator/rpc/federation_service.h"

namespace rivulet {

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* FederationService::Connect(
    grpc::CallbackServerContext* context) {
  return NewConnectReactor(service_, *context);
}

grpc::ServerWriteReactor<v1::Chunk>* FederationService::Download(
    grpc::CallbackServerContext* context, const v1::DownloadRequest* request) {
  return NewDownloadReactor(service_, *context, *request);
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* FederationService::Upload(
    grpc::CallbackServerContext* context) {
  return NewUploadReactor(service_, *context);
}

}  // namespace rivulet
