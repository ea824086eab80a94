#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/io/sha256.h"
#include "common/status.h"
#include "coordinator/storage/durable_step.h"

namespace rivulet {

using ByteSpans = std::span<const std::span<const std::byte>>;

// A stored blob, or what a writer has so far. Const calls are safe from many threads.
class BlobReader {
 public:
  virtual ~BlobReader() = default;
  virtual uint64_t size() const = 0;
  // Fills all of `out` from `offset`. Errors: OutOfRange past the end, Internal on a read error.
  virtual absl::Status Read(uint64_t offset, std::span<std::byte> out) const = 0;
};

// A blob on its way in. Destroying an uncommitted writer drops its bytes, unless Keep was called.
// Not thread safe.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  virtual uint64_t size() const = 0;  // bytes appended so far; an upload resumes here
  // Errors: OutOfRange past the size announced at Create; ResourceExhausted (kRetryLater) when the
  // disk is full: nothing of this call was taken, the writer stays usable.
  // The pieces follow each other.
  virtual absl::Status AppendPieces(ByteSpans pieces) = 0;
  absl::Status Append(std::span<const std::byte> bytes) { return AppendPieces({&bytes, 1}); }
  // Of a writer that Resume gave: its bytes stay for the next Resume, also after a restart.
  virtual void Keep() = 0;
  // Reads back what was appended, for validation before Commit. Must not outlive the writer.
  virtual absl::StatusOr<std::unique_ptr<BlobReader>> Reread() const = 0;
  // Ends the appending: the name of what is there. `want`, when not empty, must equal it. Errors:
  // DataLoss (kResync) naming both hashes.
  virtual absl::StatusOr<std::string> Seal(std::string_view want) = 0;
  // Seals if need be and makes the blob durable under its SHA-256 and returns that name (64 hex
  // digits). `want`, when not empty, must equal it. Errors: DataLoss naming both hashes;
  // ResourceExhausted. Once.
  virtual absl::StatusOr<std::string> Commit(std::string_view want) = 0;
};

struct BlobInfo {
  std::string sha256;
  uint64_t bytes = 0;
};

// Content-addressed bytes: uploads, global states, optimiser states. Thread safe.
class BlobStore {
 public:
  virtual ~BlobStore() = default;

  // `max_bytes`: what Append accepts in all.
  virtual absl::StatusOr<std::unique_ptr<BlobWriter>> Create(uint64_t max_bytes) = 0;
  // The same, going on with what an earlier writer of this `key` (1..160 of a-z, 0-9, '-') left: by
  // Keep, or by dying with its process. What is there is read and hashed again. It may claim bytes
  // that a power loss took, since only Commit syncs; Seal finds that out. A key has one writer at a
  // time: while another one has it, the new one starts empty and can not be kept.
  virtual absl::StatusOr<std::unique_ptr<BlobWriter>> Resume(std::string_view key,
                                                             uint64_t max_bytes) = 0;
  // Drops what was left under the keys that are not `wanted` and that no writer has.
  virtual absl::Status SweepKept(const std::function<bool(std::string_view key)>& wanted) = 0;
  // Errors: NotFound naming the hash; InvalidArgument when it is not 64 lower-case hex digits;
  // ResourceExhausted (kRetryLater) when descriptors or memory run out.
  virtual absl::StatusOr<std::unique_ptr<BlobReader>> Open(std::string_view sha256) const = 0;
  virtual bool Has(std::string_view sha256) const = 0;
  virtual absl::Status Delete(std::string_view sha256) = 0;  // OK when absent
  virtual absl::StatusOr<std::vector<BlobInfo>> List() const = 0;
  virtual uint64_t FreeBytes() const = 0;  // what the file system has left for us

  // A blob whose bytes are all in memory: Create, AppendPieces and Commit in one, and returns the
  // name.
  virtual absl::StatusOr<std::string> PutPieces(ByteSpans pieces);

  // Small blobs in one call. Put returns the name; Get verifies the hash (DataLoss when the bytes
  // rotted) and refuses more than `max_bytes`.
  absl::StatusOr<std::string> Put(std::span<const std::byte> bytes);
  absl::StatusOr<std::string> Put(std::string_view bytes);
  absl::StatusOr<std::string> Get(std::string_view sha256, uint64_t max_bytes) const;
};

// Whether `name` is 64 lower-case hex digits: the only names a peer can make us look up.
bool IsBlobName(std::string_view name);

bool IsPartialKey(std::string_view key);  // what Resume takes

// For writers: OutOfRange when `pieces` do not fit behind `size` bytes.
absl::Status CheckRoom(ByteSpans pieces, uint64_t size, uint64_t max_bytes);

// directory/blob/<sha256>, directory/incoming/{tmp-<random>,part-<key>}; the former are removed at
// open, the latter wait for Resume or SweepKept.
// Commit: fsync of the file, rename, fsync of the directory. Errors: as WriteFileAtomically.
absl::StatusOr<std::unique_ptr<BlobStore>> OpenDirectoryBlobStore(
    const std::filesystem::path& directory, DurableStep before_step = {});

// The twin for tests and the simulation. `trusting`: a blob gets the name its writer wants, unread;
// where none is wanted it is hashed as ever. For a process that hashed those bytes itself.
std::unique_ptr<BlobStore> MakeMemoryBlobStore(bool trusting = false);

}  // namespace rivulet
