#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "coordinator/storage/blob_store.h"

namespace rivulet {
namespace {

using Buffer = std::shared_ptr<std::vector<std::byte>>;
using Bytes = std::shared_ptr<const std::vector<std::byte>>;

class MemoryReader : public BlobReader {
 public:
  explicit MemoryReader(Bytes bytes) : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_->size(); }
  absl::Status Read(uint64_t offset, std::span<std::byte> out) const override {
    if (offset > bytes_->size() || out.size() > bytes_->size() - offset) {
      return Refuse(absl::StatusCode::kOutOfRange, "blob: ends early");
    }
    if (!out.empty()) std::memcpy(out.data(), bytes_->data() + offset, out.size());
    return absl::OkStatus();
  }

 private:
  Bytes bytes_;
};

// Blobs by name; writers and readers share it, so that they may outlive the store.
struct Shelf {
  const bool trusting;
  std::mutex mutex;
  std::map<std::string, Bytes, std::less<>> blobs;
  std::map<std::string, Buffer, std::less<>> kept;  // by key
  std::set<std::string, std::less<>> in_use;        // keys that have a writer
};

class MemoryWriter : public BlobWriter {
 public:
  // `key` empty: one that cannot be kept.
  MemoryWriter(std::shared_ptr<Shelf> shelf, uint64_t max_bytes, std::string key, Buffer bytes)
      : shelf_(std::move(shelf)),
        max_bytes_(max_bytes),
        key_(std::move(key)),
        bytes_(std::move(bytes)) {}
  ~MemoryWriter() override {
    if (key_.empty()) return;
    const std::lock_guard lock(shelf_->mutex);
    shelf_->in_use.erase(key_);
    if (keep_ && name_.empty()) shelf_->kept[key_] = bytes_;
  }

  uint64_t size() const override { return bytes_->size(); }

  absl::Status AppendPieces(ByteSpans pieces) override {
    RV_RETURN_IF_ERROR(CheckRoom(pieces, bytes_->size(), max_bytes_));
    for (const std::span<const std::byte> bytes : pieces) {
      bytes_->insert(bytes_->end(), bytes.begin(), bytes.end());
    }
    return absl::OkStatus();
  }

  void Keep() override { keep_ = true; }

  absl::StatusOr<std::unique_ptr<BlobReader>> Reread() const override {
    return std::make_unique<MemoryReader>(bytes_);
  }

  absl::StatusOr<std::string> Seal(std::string_view want) override {
    if (name_.empty()) name_ = shelf_->trusting && !want.empty() ? std::string(want) : Hash();
    if (want.empty() || want == name_) return name_;
    return Refuse(absl::StatusCode::kDataLoss,
                  "upload: got bytes with hash " + name_ + ", want " + std::string(want),
                  Remedy::kResync);
  }

  absl::StatusOr<std::string> Commit(std::string_view want) override {
    RV_ASSIGN_OR_RETURN(const std::string name, Seal(want));
    const std::lock_guard lock(shelf_->mutex);
    shelf_->blobs.emplace(name, bytes_);
    return name;
  }

 private:
  std::string Hash() const {
    Sha256 hash;
    hash.Update(*bytes_);
    return HexOf(hash.Finish());
  }

  std::shared_ptr<Shelf> shelf_;
  uint64_t max_bytes_;
  std::string key_;
  Buffer bytes_;
  bool keep_ = false;
  std::string name_;  // once sealed
};

class MemoryBlobStore : public BlobStore {
 public:
  explicit MemoryBlobStore(bool trusting) : shelf_(new Shelf{.trusting = trusting}) {}

  absl::StatusOr<std::unique_ptr<BlobWriter>> Create(uint64_t max_bytes) override {
    return std::make_unique<MemoryWriter>(shelf_, max_bytes, "", NewBuffer());
  }

  absl::StatusOr<std::unique_ptr<BlobWriter>> Resume(std::string_view key,
                                                     uint64_t max_bytes) override {
    if (!IsPartialKey(key)) return Refuse(absl::StatusCode::kInvalidArgument, "upload: bad key");
    const std::lock_guard lock(shelf_->mutex);
    if (!shelf_->in_use.emplace(key).second) return Create(max_bytes);
    Buffer bytes = NewBuffer();
    if (const auto found = shelf_->kept.find(key); found != shelf_->kept.end()) {
      if (found->second->size() <= max_bytes) bytes = found->second;
      shelf_->kept.erase(found);
    }
    return std::make_unique<MemoryWriter>(shelf_, max_bytes, std::string(key), std::move(bytes));
  }

  absl::Status SweepKept(const std::function<bool(std::string_view)>& wanted) override {
    const std::lock_guard lock(shelf_->mutex);
    std::erase_if(shelf_->kept, [&](const auto& row) { return !wanted(row.first); });
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<BlobReader>> Open(std::string_view sha256) const override {
    RV_RETURN_IF_ERROR(CheckName(sha256));
    const std::lock_guard lock(shelf_->mutex);
    const auto found = shelf_->blobs.find(sha256);
    if (found == shelf_->blobs.end()) {
      return Refuse(absl::StatusCode::kNotFound, "blob " + std::string(sha256) + ": not here");
    }
    return std::make_unique<MemoryReader>(found->second);
  }

  bool Has(std::string_view sha256) const override {
    const std::lock_guard lock(shelf_->mutex);
    return shelf_->blobs.contains(sha256);
  }

  absl::Status Delete(std::string_view sha256) override {
    RV_RETURN_IF_ERROR(CheckName(sha256));
    const std::lock_guard lock(shelf_->mutex);
    if (const auto found = shelf_->blobs.find(sha256); found != shelf_->blobs.end()) {
      shelf_->blobs.erase(found);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<BlobInfo>> List() const override {
    std::vector<BlobInfo> found;
    const std::lock_guard lock(shelf_->mutex);
    for (const auto& [name, bytes] : shelf_->blobs) found.push_back({name, bytes->size()});
    return found;
  }

  uint64_t FreeBytes() const override { return std::numeric_limits<uint64_t>::max(); }

 private:
  static Buffer NewBuffer() { return std::make_shared<std::vector<std::byte>>(); }

  static absl::Status CheckName(std::string_view sha256) {
    if (IsBlobName(sha256)) return absl::OkStatus();
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "blob: got a name of " + std::to_string(sha256.size()) +
                      " characters, want 64 lower-case hex digits");
  }

  const std::shared_ptr<Shelf> shelf_;
};

}  // namespace

std::unique_ptr<BlobStore> MakeMemoryBlobStore(bool trusting) {
  return std::make_unique<MemoryBlobStore>(trusting);
}

}  // namespace rivulet
