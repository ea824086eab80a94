#include "coordinator/rpc/upload_wire.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <string>

#include "common/rpc/chunk.h"

namespace rivulet {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr uint32_t TagOf(int field, WireFormatLite::WireType type) {
  return static_cast<uint32_t>(field) << 3 | static_cast<uint32_t>(type);
}
constexpr uint32_t kChunk =
    TagOf(v1::UploadMessage::kChunkFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
constexpr uint32_t kOffset = TagOf(v1::Chunk::kOffsetFieldNumber, WireFormatLite::WIRETYPE_VARINT);
constexpr uint32_t kData =
    TagOf(v1::Chunk::kDataFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);

// As protobuf does it: a field that comes again replaces what was there.
bool ReadData(CodedInputStream& in, WireChunk& chunk) {
  uint32_t left = 0;
  if (!in.ReadVarint32(&left) || left > kMaxMessageBytes) return false;
  chunk.bytes = left;
  chunk.pieces.clear();
  while (left > 0) {
    const void* data = nullptr;
    int size = 0;
    if (!in.GetDirectBufferPointer(&data, &size) || size <= 0) return false;
    const uint32_t take = std::min(left, static_cast<uint32_t>(size));
    chunk.pieces.push_back({static_cast<const std::byte*>(data), take});
    if (!in.Skip(static_cast<int>(take))) return false;
    left -= take;
  }
  return true;
}

bool ReadFields(CodedInputStream& in, WireChunk& chunk) {
  while (const uint32_t tag = in.ReadTag()) {
    bool read = false;
    if (tag == kOffset) {
      read = in.ReadVarint64(&chunk.offset);
    } else if (tag == kData) {
      read = ReadData(in, chunk);
    } else {
      read = WireFormatLite::SkipField(&in, tag);
    }
    if (!read) return false;
  }
  return in.ConsumedEntireMessage();
}

// `found`: there was a chunk, the last field of the message that says what it is.
bool ReadMessage(CodedInputStream& in, WireChunk& chunk, bool& found) {
  while (const uint32_t tag = in.ReadTag()) {
    if (tag != kChunk) {
      if (tag >> 3 == v1::UploadMessage::kBeginFieldNumber) found = false;
      if (!WireFormatLite::SkipField(&in, tag)) return false;
      continue;
    }
    uint32_t length = 0;
    if (!in.ReadVarint32(&length) || length > kMaxMessageBytes) return false;
    const CodedInputStream::Limit outer = in.PushLimit(static_cast<int>(length));
    found = true;
    if (!ReadFields(in, chunk)) return false;
    in.PopLimit(outer);
  }
  return in.ConsumedEntireMessage();
}

absl::Status BadChunk(const std::string& what) {
  return Refuse(absl::StatusCode::kInvalidArgument, what, Remedy::kLeaveRun);
}

}  // namespace

absl::StatusOr<WireChunk> ReadWireChunk(grpc::ByteBuffer& message) {
  WireChunk chunk;
  bool found = false;
  {
    grpc::ProtoBufferReader reader(&message);
    CodedInputStream in(&reader);
    if (!reader.status().ok() || !ReadMessage(in, chunk, found)) {
      return BadChunk("chunk: got bytes that are no message");
    }
  }
  const uint64_t bytes = found ? chunk.bytes : 0;
  if (bytes >= 1 && bytes <= kChunkBytes) return chunk;
  return BadChunk("chunk: got " + std::to_string(bytes) + " bytes, want 1.." +
                  std::to_string(kChunkBytes));
}

absl::StatusOr<v1::UploadMessage> ParseUploadMessage(grpc::ByteBuffer& message) {
  v1::UploadMessage parsed;
  if (grpc::GenericDeserialize<grpc::ProtoBufferReader, v1::UploadMessage>(&message, &parsed)
          .ok()) {
    return parsed;
  }
  return BadChunk("got bytes that are no message");
}

grpc::ByteBuffer WireOf(const v1::UploadReply& reply) {
  const std::string bytes = reply.SerializeAsString();
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace rivulet
