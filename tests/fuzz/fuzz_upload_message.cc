#include "common/io/sha256.h"
#include "common/rpc/chunk.h"
#include "coordinator/rpc/upload_wire.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

namespace {

// As the network gives it: in slices of `cut` bytes.
grpc::ByteBuffer Sliced(std::string_view bytes, size_t cut) {
  std::vector<grpc::Slice> slices;
  for (size_t done = 0; done < bytes.size(); done += cut) {
    slices.emplace_back(std::string(bytes.substr(done, cut)));
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

// Reads as ours does, whether it is accepted; then it must hold `want`.
bool Reads(std::string_view bytes, size_t cut, const v1::Chunk& want) {
  grpc::ByteBuffer message = Sliced(bytes, cut);
  const auto chunk = ReadWireChunk(message);
  if (!chunk.ok()) return false;
  std::string data;
  for (const auto piece : chunk->pieces) {
    data.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  }
  Require(chunk->bytes == data.size());
  Require(chunk->offset == want.offset());
  Require(data == want.data());
  return true;
}

// What a header declares is of the file inside it, or has a hash of the right size.
void CheckHeader(const v1::UploadMessage& message) {
  const auto header = HeaderOf(message);
  if (!header.ok()) return;
  const std::string& file = message.begin().data();
  Require(header->sha256.size() == 64 && file.size() <= kInlineUpdateBytes);
  if (file.empty()) return;
  Require(header->bytes == file.size() && header->sha256 == Sha256Hex(file));
}

}  // namespace

// A message and how it is cut (the first byte). What our reader takes, protobuf takes and reads the
// same; of what protobuf takes and writes, ours takes every chunk of an allowed size. A header is
// refused or of bounded size.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t cut = std::max<size_t>(data[0], 1);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  v1::UploadMessage parsed;
  const bool whole = parsed.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  if (whole) CheckHeader(parsed);
  const bool known = whole && parsed.has_chunk();
  const bool read = Reads(bytes, cut, parsed.chunk());
  Require(known || !read);
  if (!known) return 0;
  v1::UploadMessage plain;
  plain.mutable_chunk()->set_offset(parsed.chunk().offset());
  plain.mutable_chunk()->set_data(parsed.chunk().data());
  const size_t length = plain.chunk().data().size();
  Require(Reads(plain.SerializeAsString(), cut, parsed.chunk()) ==
          (length >= 1 && length <= kChunkBytes));
  return 0;
}
