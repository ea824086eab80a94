#include "coordinator/rpc/upload_wire.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <limits>
#include <string>

#include "common/io/sha256.h"
#include "common/rpc/chunk.h"
#include "common/rpc/hash_bytes.h"

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

// Tags and lengths, in five bytes at most, as protobuf's own parser wants them: the stream's
// methods take longer ones and drop their upper bits.
bool ReadUint32(CodedInputStream& in, uint32_t* value) {
  uint64_t read = 0;
  for (int shift = 0; shift < 35; shift += 7) {
    uint8_t byte = 0;
    if (!in.ReadRaw(&byte, 1)) return false;
    read |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = static_cast<uint32_t>(read);
      return read <= std::numeric_limits<uint32_t>::max();
    }
  }
  return false;
}

// There always is a limit: the end of the message or of one inside it.
uint32_t BytesLeft(const CodedInputStream& in) {
  return static_cast<uint32_t>(std::max(in.BytesUntilLimit(), 0));
}

bool ReadLength(CodedInputStream& in, uint32_t* length) {
  return ReadUint32(in, length) && *length <= BytesLeft(in);
}

// A field of a later version. Groups are of versions long past.
bool SkipField(CodedInputStream& in, uint32_t tag) {
  uint64_t value = 0;
  uint32_t length = 0;
  switch (static_cast<WireFormatLite::WireType>(tag & 7)) {
    case WireFormatLite::WIRETYPE_VARINT:
      return in.ReadVarint64(&value);
    case WireFormatLite::WIRETYPE_FIXED64:
      return BytesLeft(in) >= 8 && in.Skip(8);
    case WireFormatLite::WIRETYPE_FIXED32:
      return BytesLeft(in) >= 4 && in.Skip(4);
    case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
      return ReadLength(in, &length) && in.Skip(static_cast<int>(length));
    default:
      return false;
  }
}

bool ReadTag(CodedInputStream& in, uint32_t* tag) {
  return ReadUint32(in, tag) && *tag >> 3 != 0;  // there is no field 0
}

// As protobuf does it: a field that comes again replaces what was there.
bool ReadData(CodedInputStream& in, WireChunk& chunk) {
  uint32_t left = 0;
  if (!ReadLength(in, &left)) return false;
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
  while (BytesLeft(in) > 0) {
    uint32_t tag = 0;
    bool read = ReadTag(in, &tag);
    if (read && tag == kOffset) {
      read = in.ReadVarint64(&chunk.offset);
    } else if (read && tag == kData) {
      read = ReadData(in, chunk);
    } else if (read) {
      read = SkipField(in, tag);
    }
    if (!read) return false;
  }
  return true;
}

// A chunk that comes again adds to what was there. A header beside it is refused unread.
bool ReadMessage(CodedInputStream& in, WireChunk& chunk) {
  while (BytesLeft(in) > 0) {
    uint32_t tag = 0;
    if (!ReadTag(in, &tag) || tag >> 3 == v1::UploadMessage::kBeginFieldNumber) return false;
    if (tag != kChunk) {
      if (!SkipField(in, tag)) return false;
      continue;
    }
    uint32_t length = 0;
    if (!ReadLength(in, &length)) return false;
    const CodedInputStream::Limit outer = in.PushLimit(static_cast<int>(length));
    if (!ReadFields(in, chunk)) return false;
    in.PopLimit(outer);
  }
  return true;
}

absl::Status BadUpload(const std::string& what) {
  return Refuse(absl::StatusCode::kInvalidArgument, what, Remedy::kLeaveRun);
}

}  // namespace

absl::StatusOr<WireChunk> ReadWireChunk(grpc::ByteBuffer& message) {
  WireChunk chunk;
  const size_t length = message.Length();
  bool read = length <= static_cast<size_t>(kMaxMessageBytes);
  if (read) {
    grpc::ProtoBufferReader reader(&message);
    CodedInputStream in(&reader);
    in.PushLimit(static_cast<int>(length));
    read = reader.status().ok() && ReadMessage(in, chunk);
  }
  if (!read) return BadUpload("chunk: got bytes that are no chunk");
  if (chunk.bytes >= 1 && chunk.bytes <= kChunkBytes) return chunk;
  return BadUpload("chunk: got " + std::to_string(chunk.bytes) + " bytes, want 1.." +
                   std::to_string(kChunkBytes));
}

absl::StatusOr<v1::UploadMessage> ParseUploadMessage(grpc::ByteBuffer& message) {
  v1::UploadMessage parsed;
  if (grpc::GenericDeserialize<grpc::ProtoBufferReader, v1::UploadMessage>(&message, &parsed)
          .ok()) {
    return parsed;
  }
  return BadUpload("got bytes that are no message");
}

absl::StatusOr<UpdateHeader> HeaderOf(const v1::UploadMessage& message) {
  if (!message.has_begin()) return BadUpload("first message: want the update's header");
  const v1::UploadBegin& begin = message.begin();
  const std::string& data = begin.data();
  const size_t hash = data.empty() ? 32 : 0;
  if (begin.sha256().size() != hash) {
    return BadUpload("sha256: got " + std::to_string(begin.sha256().size()) + " bytes beside " +
                     std::to_string(data.size()) + " of data, want " + std::to_string(hash));
  }
  if (data.size() > kInlineUpdateBytes) {
    return BadUpload("data: got " + std::to_string(data.size()) + " bytes, want at most " +
                     std::to_string(kInlineUpdateBytes));
  }
  if (!data.empty() && begin.bytes() != 0) {
    return BadUpload("bytes: got " + std::to_string(begin.bytes()) + " beside data, want 0");
  }
  UpdateHeader header;
  header.job_id = begin.key().job();
  header.round = begin.key().round();
  header.attempt = begin.key().attempt();
  header.sha256 = data.empty() ? HexOfBytes(begin.sha256()) : Sha256Hex(data);
  header.bytes = data.empty() ? begin.bytes() : data.size();
  header.examples = begin.examples();
  header.tokens = begin.tokens();
  header.steps = begin.steps();
  header.loss = begin.loss();
  header.grad_norm = begin.grad_norm();
  return header;
}

grpc::ByteBuffer WireOf(const v1::UploadReply& reply) {
  const std::string bytes = reply.SerializeAsString();
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace rivulet
