#include "client/rpc/transfers.h"

#include <fstream>

#include "client/agent/failure_report.h"
#include "common/io/file.h"
#include "common/rpc/chunk.h"
#include "common/rpc/hash_bytes.h"
#include "common/rpc/status_mapping.h"

namespace rivulet {
namespace {

uint64_t SizeOf(const std::filesystem::path& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  return error ? 0 : size;
}

absl::Status CannotWrite(const std::filesystem::path& path) {
  return OfTheDisk(Refuse(absl::StatusCode::kResourceExhausted, path.string() + ": cannot write"));
}

// With the file in it where it is small.
v1::UploadMessage BeginOf(const Outcome& outcome, std::string_view file) {
  v1::UploadMessage message;
  v1::UploadBegin& begin = *message.mutable_begin();
  begin.mutable_key()->set_job(outcome.key.job);
  begin.mutable_key()->set_round(outcome.key.round);
  begin.mutable_key()->set_attempt(outcome.key.attempt);
  if (!file.empty() && file.size() <= kInlineUpdateBytes) {
    begin.set_data(file.data(), file.size());
  } else {
    begin.set_sha256(BytesOfHex(outcome.sha256));
    begin.set_bytes(outcome.bytes);
  }
  begin.set_examples(outcome.examples);
  begin.set_tokens(outcome.tokens);
  begin.set_steps(outcome.steps);
  begin.set_loss(outcome.loss);
  begin.set_grad_norm(outcome.grad_norm);
  return message;
}

using UploadStream = grpc::ClientReaderWriter<v1::UploadMessage, v1::UploadReply>;

// False when the stream broke; its status says why.
bool SendFrom(UploadStream& stream, std::string_view file, uint64_t offset) {
  v1::UploadMessage message;
  while (offset < file.size()) {
    const std::string_view piece = file.substr(offset, kChunkBytes);
    message.mutable_chunk()->set_offset(offset);
    message.mutable_chunk()->set_data(piece.data(), piece.size());
    if (!stream.Write(message)) return false;
    offset += piece.size();
  }
  return stream.WritesDone();
}

}  // namespace

absl::Status DownloadBlob(v1::Federation::Stub& stub, grpc::ClientContext& context,
                          const std::string& sha256, uint64_t bytes,
                          const std::filesystem::path& partial, uint64_t from) {
  uint64_t offset = from + SizeOf(partial);
  if (offset == bytes) return absl::OkStatus();
  std::ofstream out(partial, offset > bytes ? std::ios::trunc : std::ios::app | std::ios::binary);
  if (offset > bytes) offset = from;
  v1::DownloadRequest request;
  request.set_sha256(BytesOfHex(sha256));
  request.set_offset(offset);
  const auto stream = stub.Download(&context, request);
  v1::Chunk chunk;
  absl::Status trouble;
  while (trouble.ok() && stream->Read(&chunk)) {
    if (chunk.offset() != offset || chunk.data().size() > bytes - offset) {
      trouble = Refuse(absl::StatusCode::kDataLoss, "download: a chunk out of place");
    } else if (!out.write(chunk.data().data(), static_cast<std::streamsize>(chunk.data().size()))) {
      trouble = CannotWrite(partial);
    }
    offset += chunk.data().size();
  }
  if (trouble.ok() && !out.flush()) {
    trouble = CannotWrite(partial);
  }
  if (!trouble.ok()) context.TryCancel();
  const absl::Status ended = FromGrpc(stream->Finish(), context);
  if (!trouble.ok()) return trouble;
  RV_RETURN_IF_ERROR(ended);
  if (offset == bytes) return absl::OkStatus();
  return Refuse(absl::StatusCode::kUnavailable, "download: got " + std::to_string(offset) +
                                                    " bytes, want " + std::to_string(bytes));
}

absl::Status UploadUpdate(v1::Federation::Stub& stub, grpc::ClientContext& context,
                          const Outcome& outcome, std::string_view file) {
  context.set_initial_metadata_corked(true);  // goes out with the first message
  const auto stream = stub.Upload(&context);
  v1::UploadReply reply;
  const v1::UploadMessage begin = BeginOf(outcome, file);
  const bool whole = !begin.begin().data().empty();
  grpc::WriteOptions how;
  if (whole) how.set_last_message();
  stream->Write(begin, how);
  // A failed read means that the call is over and Finish says why; cancelling then could hide it.
  if (stream->Read(&reply) && !reply.has_receipt()) {
    if (whole || reply.committed() > file.size())
      context.TryCancel();
    else
      SendFrom(*stream, file, reply.committed());
    stream->Read(&reply);
  }
  const bool received = reply.has_receipt();
  const absl::Status ended = FromGrpc(stream->Finish(), context);
  if (received && HexOfBytes(reply.receipt().sha256()) == outcome.sha256) return absl::OkStatus();
  if (!ended.ok()) return ended;
  return Refuse(absl::StatusCode::kDataLoss, "upload: the receipt is of another update",
                Remedy::kResync);
}

}  // namespace rivulet
