#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"
#include "coordinator/rounds/federation.h"
#include "rivulet/v1/federation.pb.h"

namespace rivulet {

// A chunk as it came from the network: its bytes stay where they are, in pieces that follow each
// other. Valid as long as the message.
struct WireChunk {
  uint64_t offset = 0;
  uint64_t bytes = 0;  // of all pieces
  std::vector<std::span<const std::byte>> pieces;
};

// The chunk of an UploadMessage, read without copying its data: a protobuf object would cost one
// more pass over every byte. What it takes protobuf takes too, and reads the same
// (tests/fuzz/fuzz_upload_message.cc). Errors: InvalidArgument (kLeaveRun) for anything that is not
// a chunk of 1 byte to 1 MiB.
absl::StatusOr<WireChunk> ReadWireChunk(grpc::ByteBuffer& message);

// Whole messages. Errors: InvalidArgument (kLeaveRun) for bytes that are no UploadMessage.
absl::StatusOr<v1::UploadMessage> ParseUploadMessage(grpc::ByteBuffer& message);
// What the first message of an upload declares; where the file itself is in it, its hash and size.
// Errors: InvalidArgument (kLeaveRun) for another kind of message, for a hash that is not 32 bytes,
// for a file of more than 16 KiB, and for one with a hash or size beside it.
absl::StatusOr<UpdateHeader> HeaderOf(const v1::UploadMessage& message);
grpc::ByteBuffer WireOf(const v1::UploadReply& reply);

}  // namespace rivulet
