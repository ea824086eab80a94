// Chunks read by hand mean what protobuf says they mean.
#include "coordinator/rpc/upload_wire.h"

#include <gtest/gtest.h>

#include <string>

#include "common/io/sha256.h"
#include "common/rpc/chunk.h"

namespace rivulet {
namespace {

// As the network gives it: in slices of `cut` bytes.
grpc::ByteBuffer InSlices(const std::string& bytes, size_t cut) {
  std::vector<grpc::Slice> slices;
  for (size_t done = 0; done < bytes.size(); done += cut) {
    slices.emplace_back(bytes.substr(done, cut));
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

std::string DataOf(const WireChunk& chunk) {
  std::string data;
  for (const auto piece : chunk.pieces) {
    data.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  }
  return data;
}

v1::UploadMessage MessageOf(uint64_t offset, const std::string& data) {
  v1::UploadMessage message;
  message.mutable_chunk()->set_offset(offset);
  message.mutable_chunk()->set_data(data);
  return message;
}

TEST(WireChunk, IsReadWhateverTheSlices) {
  std::string data;
  for (int byte = 0; byte < 1000; ++byte) data += static_cast<char>(byte * 7);
  const std::string bytes = MessageOf(uint64_t{5} << 40, data).SerializeAsString();
  for (const size_t cut : {size_t{1}, size_t{2}, size_t{3}, size_t{100}, bytes.size()}) {
    grpc::ByteBuffer message = InSlices(bytes, cut);
    const auto chunk = ReadWireChunk(message);
    ASSERT_TRUE(chunk.ok()) << chunk.status();
    EXPECT_EQ(chunk->offset, uint64_t{5} << 40);
    EXPECT_EQ(chunk->bytes, data.size());
    EXPECT_EQ(DataOf(*chunk), data);
  }
}

TEST(WireChunk, FieldsOfALaterVersionAreSkippedAndTheLastOfTwoCounts) {
  const std::string unknown("\xfa\x01\x03xyz", 6);  // field 31, three bytes
  const std::string bytes = unknown + MessageOf(1, "first").SerializeAsString() + unknown +
                            MessageOf(2, "second").SerializeAsString() + unknown;
  v1::UploadMessage want;
  ASSERT_TRUE(want.ParseFromString(bytes));
  grpc::ByteBuffer message = InSlices(bytes, 5);
  const auto chunk = ReadWireChunk(message);
  ASSERT_TRUE(chunk.ok()) << chunk.status();
  EXPECT_EQ(chunk->offset, want.chunk().offset());
  EXPECT_EQ(DataOf(*chunk), want.chunk().data());
}

TEST(UploadHeader, OfAFileInsideItHasItsHashAndSize) {
  v1::UploadMessage message;
  message.mutable_begin()->set_data(std::string(kInlineUpdateBytes, 'x'));
  const auto header = HeaderOf(message);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->sha256, Sha256Hex(message.begin().data()));
  EXPECT_EQ(header->bytes, kInlineUpdateBytes);
  message.mutable_begin()->mutable_data()->push_back('x');
  EXPECT_EQ(HeaderOf(message).status().message(), "data: got 16385 bytes, want at most 16384");
}

TEST(UploadHeader, HasEitherAFileOrItsHash) {
  v1::UploadMessage message;
  EXPECT_EQ(HeaderOf(message).status().code(), absl::StatusCode::kInvalidArgument);
  message.mutable_begin()->set_sha256(std::string(31, 'h'));
  EXPECT_EQ(HeaderOf(message).status().message(), "sha256: got 31 bytes beside 0 of data, want 32");
  message.mutable_begin()->mutable_sha256()->push_back('h');
  EXPECT_TRUE(HeaderOf(message).ok());
  message.mutable_begin()->set_data("file");
  EXPECT_EQ(HeaderOf(message).status().message(), "sha256: got 32 bytes beside 4 of data, want 0");
  message.mutable_begin()->clear_sha256();
  message.mutable_begin()->set_bytes(4);
  EXPECT_EQ(HeaderOf(message).status().message(), "bytes: got 4 beside data, want 0");
  message.mutable_begin()->clear_bytes();
  EXPECT_TRUE(HeaderOf(message).ok());
}

TEST(WireChunk, AnythingElseIsRefused) {
  v1::UploadMessage begin;
  begin.mutable_begin()->set_bytes(5);
  const std::string whole = MessageOf(0, "some data").SerializeAsString();
  const std::string past_the_end("\x12\x7f\x12\x01x", 5);  // a chunk of 127 bytes
  const std::string data_past_the_chunk("\x12\x03\x12\x05xxxxx", 9);
  for (const std::string& bytes :
       {past_the_end, data_past_the_chunk, std::string(), begin.SerializeAsString(),
        MessageOf(3, "").SerializeAsString(),
        MessageOf(0, std::string(kChunkBytes + 1, 'x')).SerializeAsString(),
        whole.substr(0, whole.size() - 1), whole + "\x12", std::string("\x00\x01", 2),
        std::string("\x12\xff\xff\xff\xff\x0f", 6), std::string(100, '\xff'),
        // A header beside the chunk; a field 0; a group; a tag and a length of six bytes.
        whole + begin.SerializeAsString(), begin.SerializeAsString() + whole,
        "\x01" + std::string(8, 'x') + whole, "\x0b\x0c" + whole,
        std::string("\x92\x80\x80\x80\x80\x00\x03\x12\x01x", 10),
        std::string("\x12\x83\x80\x80\x80\x10\x12\x01x", 9)}) {
    grpc::ByteBuffer message = InSlices(bytes, 7);
    const absl::Status refused = ReadWireChunk(message).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << bytes.substr(0, 20);
    EXPECT_EQ(RemedyOf(refused), Remedy::kLeaveRun);
  }
}

}  // namespace
}  // namespace rivulet
