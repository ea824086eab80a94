#pragma once

#include <grpcpp/support/server_callback.h>

#include "coordinator/rpc/service_context.h"
#include "rivulet/v1/federation.grpc.pb.h"

namespace rivulet {

// One object per call; each deletes itself when its call is over.
grpc::ServerBidiReactor<v1::AgentMessage, v1::CoordinatorMessage>* NewConnectReactor(
    ServiceContext& service, grpc::CallbackServerContext& context);
grpc::ServerWriteReactor<v1::Chunk>* NewDownloadReactor(ServiceContext& service,
                                                        grpc::CallbackServerContext& context,
                                                        const v1::DownloadRequest& request);
grpc::ServerBidiReactor<v1::UploadMessage, v1::UploadReply>* NewUploadReactor(
    ServiceContext& service, grpc::CallbackServerContext& context);

}  // namespace rivulet
