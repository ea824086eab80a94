#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <future>
#include <mutex>
#include <set>
#include <utility>

#include "common/io/file.h"
#include "common/launch.h"
#include "coordinator/storage/blob_store.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kWritebackBytes = uint64_t{4} << 20;

constexpr std::string_view kPart = "part-";
constexpr uint64_t kReadBytes = uint64_t{1} << 20;

// An owned file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

absl::Status RetryLaterIfFull(absl::Status status) {
  if (status.code() != absl::StatusCode::kResourceExhausted) return status;
  return Refuse(status.code(), std::string(status.message()), Remedy::kRetryLater);
}

absl::Status ReadAt(const fs::path& path, int fd, uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(path, "read", errno);
    if (got == 0) return Refuse(absl::StatusCode::kOutOfRange, path.string() + ": ends early");
    out = out.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return absl::OkStatus();
}

constexpr size_t kMostPieces = 256;  // in one call; the system takes 1024

absl::Status WriteAt(const fs::path& path, int fd, uint64_t offset, ByteSpans pieces) {
  std::array<iovec, kMostPieces> vectors;
  size_t skip = 0;  // bytes of the first piece that are written
  while (!pieces.empty()) {
    const size_t count = std::min(pieces.size(), vectors.size());
    for (size_t each = 0; each < count; ++each) {
      const std::span<const std::byte> piece = pieces[each].subspan(each == 0 ? skip : 0);
      vectors[each] = {const_cast<std::byte*>(piece.data()), piece.size()};
    }
    const ssize_t put =
        pwritev(fd, vectors.data(), static_cast<int>(count), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return FileError(path, "write", errno);
    offset += static_cast<uint64_t>(put);
    skip += static_cast<size_t>(put);
    while (!pieces.empty() && skip >= pieces[0].size()) {
      skip -= pieces[0].size();
      pieces = pieces.subspan(1);
    }
  }
  return absl::OkStatus();
}

class FileReader : public BlobReader {
 public:
  FileReader(fs::path path, Descriptor file, uint64_t size)
      : path_(std::move(path)), file_(std::move(file)), size_(size) {}
  uint64_t size() const override { return size_; }
  absl::Status Read(uint64_t offset, std::span<std::byte> out) const override {
    return ReadAt(path_, file_.get(), offset, out);
  }

 private:
  fs::path path_;
  Descriptor file_;
  uint64_t size_;
};

// Keys that have a writer. Thread safe.
class KeysInUse {
 public:
  bool Take(std::string_view key) {
    const std::lock_guard lock(mutex_);
    return keys_.emplace(key).second;
  }
  void Release(const std::string& key) {
    const std::lock_guard lock(mutex_);
    keys_.erase(key);
  }
  // Runs `body` unless the key has a writer; none can take it meanwhile.
  void IfFree(std::string_view key, const std::function<void()>& body) {
    const std::lock_guard lock(mutex_);
    if (!keys_.contains(key)) body();
  }

 private:
  std::mutex mutex_;
  std::set<std::string, std::less<>> keys_;
};

// A key held by one writer, or none ("").
class KeyHold {
 public:
  KeyHold() = default;
  KeyHold(KeysInUse& keys, std::string key) : keys_(&keys), key_(std::move(key)) {}
  ~KeyHold() {
    if (keys_ != nullptr) keys_->Release(key_);
  }
  KeyHold(KeyHold&& other) noexcept
      : keys_(std::exchange(other.keys_, nullptr)), key_(std::move(other.key_)) {}
  KeyHold& operator=(KeyHold&&) = delete;
  bool held() const { return keys_ != nullptr; }

 private:
  KeysInUse* keys_ = nullptr;
  std::string key_;
};

class FileWriter : public BlobWriter {
 public:
  FileWriter(fs::path incoming, Descriptor file, fs::path blobs, uint64_t max_bytes,
             const DurableStep& step, KeyHold hold = {})
      : hold_(std::move(hold)),
        path_(std::move(incoming)),
        file_(std::move(file)),
        blobs_(std::move(blobs)),
        max_bytes_(max_bytes),
        step_(step) {}
  ~FileWriter() override {
    if (!renamed_ && !keep_) unlink(path_.c_str());
  }

  // Takes over the bytes that are in the file; more than `max_bytes` are of another upload.
  absl::Status Adopt() {
    struct stat info;
    if (fstat(file_.get(), &info) != 0) return FileError(path_, "stat", errno);
    const auto there = static_cast<uint64_t>(info.st_size);
    if (there > max_bytes_) return Undo(absl::OkStatus());
    std::vector<std::byte> piece(std::min(there, kReadBytes));
    while (size_ < there) {
      const std::span<std::byte> next =
          std::span(piece).first(std::min<uint64_t>(there - size_, piece.size()));
      RV_RETURN_IF_ERROR(ReadAt(path_, file_.get(), size_, next));
      hash_.Update(next);
      size_ += next.size();
    }
    return absl::OkStatus();
  }

  uint64_t size() const override { return size_; }
  void Keep() override { keep_ = hold_.held() && name_.empty(); }

  absl::Status AppendPieces(ByteSpans pieces) override {
    RV_RETURN_IF_ERROR(CheckRoom(pieces, size_, max_bytes_));
    absl::Status written = Ask(step_, "blob.write");
    if (written.ok()) written = WriteAt(path_, file_.get(), size_, pieces);
    if (!written.ok()) return Undo(std::move(written));
    for (const std::span<const std::byte> bytes : pieces) {
      hash_.Update(bytes);
      size_ += bytes.size();
    }
    StartWriteback();
    return absl::OkStatus();
  }

  // All there will ever be: written here while another thread hashes it. After an error the writer
  // is of no use.
  absl::Status Fill(ByteSpans pieces) {
    RV_RETURN_IF_ERROR(CheckRoom(pieces, size_, max_bytes_));
    std::future<void> hashed = std::async(LaunchFor(max_bytes_), [this, pieces] {
      for (const std::span<const std::byte> bytes : pieces) hash_.Update(bytes);
    });
    absl::Status written = Ask(step_, "blob.write");
    for (std::span<const std::byte> left : pieces) {
      while (written.ok() && !left.empty()) {
        const auto piece = left.first(std::min<uint64_t>(left.size(), kWritebackBytes));
        written = WriteAt(path_, file_.get(), size_, {&piece, 1});
        size_ += piece.size();
        StartWriteback();
        left = left.subspan(piece.size());
      }
    }
    hashed.get();
    return RetryLaterIfFull(std::move(written));
  }

  absl::StatusOr<std::unique_ptr<BlobReader>> Reread() const override {
    Descriptor copy(fcntl(file_.get(), F_DUPFD_CLOEXEC, 0));
    if (copy.get() < 0) return RetryLaterIfFull(FileError(path_, "dup", errno));
    return std::make_unique<FileReader>(path_, std::move(copy), size_);
  }

  absl::StatusOr<std::string> Seal(std::string_view want) override {
    if (name_.empty()) name_ = HexOf(hash_.Finish());
    if (want.empty() || want == name_) return name_;
    return Refuse(absl::StatusCode::kDataLoss,
                  "upload: got bytes with hash " + name_ + ", want " + std::string(want),
                  Remedy::kResync);
  }

  absl::StatusOr<std::string> Commit(std::string_view want) override {
    RV_ASSIGN_OR_RETURN(const std::string name, Seal(want));
    RV_RETURN_IF_ERROR(Sync());
    RV_RETURN_IF_ERROR(Ask(step_, "blob.rename"));
    const fs::path target = blobs_ / name;
    if (rename(path_.c_str(), target.c_str()) != 0) {
      return RetryLaterIfFull(FileError(target, "rename", errno));
    }
    renamed_ = true;
    absl::Status synced = Ask(step_, "blob.sync-directory");
    if (synced.ok()) synced = SyncDirectory(blobs_);
    if (!synced.ok()) DieOfLostSync(std::string(synced.message()));
    return name;
  }

 private:
  // Lets the disk work while the rest arrives, so that the sync at the end finds little to do. What
  // fails here shows in that sync.
  void StartWriteback() {
    if (size_ - handed_over_ < kWritebackBytes) return;
    (void)sync_file_range(file_.get(), static_cast<off_t>(handed_over_),
                          static_cast<off_t>(size_ - handed_over_), SYNC_FILE_RANGE_WRITE);
    handed_over_ = size_;
  }

  // Takes a half-written piece back, so that the caller can send it again.
  absl::Status Undo(absl::Status cause) {
    if (ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) {
      return FileError(path_, "truncate", errno);
    }
    return RetryLaterIfFull(std::move(cause));
  }

  // A full disk may show only now; nothing was acknowledged yet, so that the file can be dropped.
  absl::Status Sync() {
    absl::Status synced = Ask(step_, "blob.fsync");
    if (synced.ok() && fsync(file_.get()) != 0) synced = FileError(path_, "fsync", errno);
    if (synced.ok() || synced.code() == absl::StatusCode::kResourceExhausted) {
      return RetryLaterIfFull(std::move(synced));
    }
    DieOfLostSync(std::string(synced.message()));
  }

  KeyHold hold_;  // first: released after the file is gone
  fs::path path_;
  Descriptor file_;
  fs::path blobs_;
  uint64_t max_bytes_;
  const DurableStep& step_;
  Sha256 hash_;
  std::string name_;  // once sealed
  uint64_t size_ = 0;
  uint64_t handed_over_ = 0;  // to the disk, not waited for
  bool renamed_ = false;
  bool keep_ = false;
};

class DirectoryBlobStore : public BlobStore {
 public:
  DirectoryBlobStore(const fs::path& directory, DurableStep step)
      : blobs_(directory / "blob"), incoming_(directory / "incoming"), step_(std::move(step)) {}

  absl::Status Prepare() {
    std::error_code error;
    fs::create_directories(blobs_, error);
    if (!error) fs::create_directories(incoming_, error);
    if (error) return FileError(blobs_, "create", error.value());
    RV_RETURN_IF_ERROR(ForEachIncoming([](const fs::path& file) {
      if (!file.filename().string().starts_with(kPart)) unlink(file.c_str());
    }));
    return SyncDirectory(blobs_.parent_path());
  }

  absl::StatusOr<std::unique_ptr<BlobWriter>> Create(uint64_t max_bytes) override {
    RV_ASSIGN_OR_RETURN(std::unique_ptr<FileWriter> writer, CreateFile(max_bytes));
    return std::unique_ptr<BlobWriter>(std::move(writer));
  }

  absl::StatusOr<std::string> PutPieces(ByteSpans pieces) override {
    uint64_t bytes = 0;
    for (const std::span<const std::byte> piece : pieces) bytes += piece.size();
    RV_ASSIGN_OR_RETURN(const std::unique_ptr<FileWriter> writer, CreateFile(bytes));
    RV_RETURN_IF_ERROR(writer->Fill(pieces));
    return writer->Commit("");
  }

  absl::StatusOr<std::unique_ptr<BlobWriter>> Resume(std::string_view key,
                                                     uint64_t max_bytes) override {
    if (!IsPartialKey(key)) return Refuse(absl::StatusCode::kInvalidArgument, "upload: bad key");
    if (!keys_.Take(key)) return Create(max_bytes);
    KeyHold hold(keys_, std::string(key));
    const fs::path path = incoming_ / (std::string(kPart) + std::string(key));
    Descriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (file.get() < 0) return RetryLaterIfFull(FileError(path, "create", errno));
    auto writer = std::make_unique<FileWriter>(path, std::move(file), blobs_, max_bytes, step_,
                                               std::move(hold));
    RV_RETURN_IF_ERROR(writer->Adopt());
    return std::unique_ptr<BlobWriter>(std::move(writer));
  }

  absl::Status SweepKept(const std::function<bool(std::string_view)>& wanted) override {
    return ForEachIncoming([&](const fs::path& file) {
      const std::string name = file.filename().string();
      if (!name.starts_with(kPart)) return;
      const std::string key = name.substr(kPart.size());
      if (!wanted(key)) keys_.IfFree(key, [&] { unlink(file.c_str()); });
    });
  }

  absl::StatusOr<std::unique_ptr<BlobReader>> Open(std::string_view sha256) const override {
    RV_ASSIGN_OR_RETURN(const fs::path path, PathOf(sha256));
    Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (file.get() < 0) return RetryLaterIfFull(FileError(path, "open", errno));
    struct stat info;
    if (fstat(file.get(), &info) != 0) return FileError(path, "stat", errno);
    return std::make_unique<FileReader>(path, std::move(file), static_cast<uint64_t>(info.st_size));
  }

  bool Has(std::string_view sha256) const override {
    return IsBlobName(sha256) && access((blobs_ / sha256).c_str(), R_OK) == 0;
  }

  absl::Status Delete(std::string_view sha256) override {
    RV_ASSIGN_OR_RETURN(const fs::path path, PathOf(sha256));
    RV_RETURN_IF_ERROR(Ask(step_, "blob.delete"));
    if (unlink(path.c_str()) != 0 && errno != ENOENT) return FileError(path, "delete", errno);
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<BlobInfo>> List() const override {
    std::vector<BlobInfo> found;
    std::error_code error;
    for (fs::directory_iterator entry(blobs_, error), end; !error && entry != end;
         entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      if (IsBlobName(name)) found.push_back({name, entry->file_size(error)});
    }
    if (error) return FileError(blobs_, "list", error.value());
    return found;
  }

  uint64_t FreeBytes() const override {
    struct statvfs info;
    if (statvfs(blobs_.c_str(), &info) != 0) return 0;
    return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  }

 private:
  absl::StatusOr<std::unique_ptr<FileWriter>> CreateFile(uint64_t max_bytes) {
    std::string path = (incoming_ / "tmp-XXXXXX").string();
    Descriptor file(mkostemp(path.data(), O_CLOEXEC));
    if (file.get() < 0) return RetryLaterIfFull(FileError(path, "create", errno));
    return std::make_unique<FileWriter>(path, std::move(file), blobs_, max_bytes, step_);
  }

  absl::Status ForEachIncoming(const std::function<void(const fs::path&)>& body) const {
    std::error_code error;
    for (fs::directory_iterator entry(incoming_, error), end; !error && entry != end;
         entry.increment(error)) {
      body(entry->path());
    }
    return error ? FileError(incoming_, "list", error.value()) : absl::OkStatus();
  }

  absl::StatusOr<fs::path> PathOf(std::string_view sha256) const {
    if (!IsBlobName(sha256)) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "blob: got a name of " + std::to_string(sha256.size()) +
                        " characters, want 64 lower-case hex digits");
    }
    return blobs_ / sha256;
  }

  fs::path blobs_;
  fs::path incoming_;
  DurableStep step_;
  KeysInUse keys_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<BlobStore>> OpenDirectoryBlobStore(const fs::path& directory,
                                                                  DurableStep before_step) {
  auto store = std::make_unique<DirectoryBlobStore>(directory, std::move(before_step));
  RV_RETURN_IF_ERROR(store->Prepare());
  return store;
}

}  // namespace rivulet
