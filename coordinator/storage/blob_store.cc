#include "coordinator/storage/blob_store.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace rivulet {

void DieOfLostSync(std::string_view what) {
  std::fprintf(stderr,
               "rivulet-coordinator: %.*s: the disk did not confirm a write; stopping, a restart "
               "recovers from what is stored\n",
               static_cast<int>(what.size()), what.data());
  std::fflush(stderr);
  std::abort();
}

bool IsBlobName(std::string_view name) {
  return name.size() == 64 && std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool IsPartialKey(std::string_view key) {
  return !key.empty() && key.size() <= 160 && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-';
  });
}

absl::Status CheckRoom(ByteSpans pieces, uint64_t size, uint64_t max_bytes) {
  uint64_t bytes = 0;
  for (const std::span<const std::byte> piece : pieces) bytes += piece.size();
  if (bytes <= max_bytes - size) return absl::OkStatus();
  return Refuse(absl::StatusCode::kOutOfRange, "upload: got " + std::to_string(size + bytes) +
                                                   " bytes, want at most " +
                                                   std::to_string(max_bytes));
}

absl::StatusOr<std::string> BlobStore::PutPieces(ByteSpans pieces) {
  uint64_t bytes = 0;
  for (const std::span<const std::byte> piece : pieces) bytes += piece.size();
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> writer, Create(bytes));
  RV_RETURN_IF_ERROR(writer->AppendPieces(pieces));
  return writer->Commit("");
}

absl::StatusOr<std::string> BlobStore::Put(std::span<const std::byte> bytes) {
  return PutPieces({&bytes, 1});
}

absl::StatusOr<std::string> BlobStore::Put(std::string_view bytes) {
  return Put(std::as_bytes(std::span(bytes)));
}

absl::StatusOr<std::string> BlobStore::Get(std::string_view sha256, uint64_t max_bytes) const {
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> reader, Open(sha256));
  if (reader->size() > max_bytes) {
    return Refuse(absl::StatusCode::kOutOfRange,
                  "blob " + std::string(sha256) + ": " + std::to_string(reader->size()) +
                      " bytes, want at most " + std::to_string(max_bytes));
  }
  std::string bytes(reader->size(), '\0');
  RV_RETURN_IF_ERROR(reader->Read(0, std::as_writable_bytes(std::span(bytes))));
  if (const std::string got = Sha256Hex(bytes); got != sha256) {
    return Refuse(absl::StatusCode::kDataLoss,
                  "blob: got bytes with hash " + got + ", want " + std::string(sha256));
  }
  return bytes;
}

}  // namespace rivulet
