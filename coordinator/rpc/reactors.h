#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "coordinator/rpc/service_context.h"
#include "rivulet/v1/federation.grpc.pb.h"

namespace rivulet {

// One object per call; each deletes itself when its call is over.
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* NewConnectReactor(  // raw messages
    ServiceContext& service, grpc::CallbackServerContext& context);
grpc::ServerWriteReactor<v1::Chunk>* NewDownloadReactor(ServiceContext& service,
                                                        grpc::CallbackServerContext& context,
                                                        const v1::DownloadRequest& request);
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* NewUploadReactor(  // raw messages
    ServiceContext& service, grpc::CallbackServerContext& context);

}  // namespace rivulet
