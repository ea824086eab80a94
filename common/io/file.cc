#include "common/io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "common/io/atomic_file.h"

namespace rivulet {
namespace {

struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

absl::StatusOr<uint64_t> OpenRegular(const std::filesystem::path& path, Descriptor& file) {
  file.fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.fd < 0) return FileError(path, "open", errno);
  struct stat info;
  if (fstat(file.fd, &info) != 0) return FileError(path, "stat", errno);
  if (!S_ISREG(info.st_mode)) {
    return Refuse(absl::StatusCode::kFailedPrecondition, path.string() + ": not a regular file");
  }
  return static_cast<uint64_t>(info.st_size);
}

// Reads up to `size` bytes; short only at the end of the file.
absl::StatusOr<size_t> ReadFully(const std::filesystem::path& path, int fd, char* out,
                                 size_t size) {
  size_t done = 0;
  while (done < size) {
    const ssize_t got = read(fd, out + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(path, "read", errno);
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

}  // namespace

absl::Status FileError(const std::filesystem::path& path, std::string_view verb, int error) {
  absl::StatusCode code = absl::StatusCode::kInternal;
  if (error == ENOENT || error == ENOTDIR) code = absl::StatusCode::kNotFound;
  if (error == EACCES || error == EPERM || error == EROFS)
    code = absl::StatusCode::kPermissionDenied;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG || error == EMFILE || error == ENFILE ||
      error == ENOMEM)
    code = absl::StatusCode::kResourceExhausted;  // passes: worth another try
  return Refuse(code, path.string() + ": " + std::string(verb) + ": " + std::strerror(error));
}

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path, uint64_t max_bytes) {
  Descriptor file;
  RV_ASSIGN_OR_RETURN(const uint64_t size, OpenRegular(path, file));
  if (size > max_bytes) {
    return Refuse(absl::StatusCode::kOutOfRange, path.string() + ": " + std::to_string(size) +
                                                     " bytes, want at most " +
                                                     std::to_string(max_bytes));
  }
  std::string bytes(size, '\0');
  RV_ASSIGN_OR_RETURN(const size_t got, ReadFully(path, file.fd, bytes.data(), size));
  bytes.resize(got);
  return bytes;
}

absl::Status SyncDirectory(const std::filesystem::path& directory) {
  const Descriptor dir{
      open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (dir.fd < 0) return FileError(directory, "open", errno);
  if (fsync(dir.fd) != 0) {
    return Refuse(absl::StatusCode::kDataLoss,
                  directory.string() + ": fsync: " + std::strerror(errno));
  }
  return absl::OkStatus();
}

absl::Status WriteFileAtomically(const std::filesystem::path& path, std::string_view bytes,
                                 int mode) {
  RV_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path, mode));
  RV_RETURN_IF_ERROR(file.Append(bytes));
  return file.Commit();
}

absl::StatusOr<Sha256Digest> Sha256OfFile(const std::filesystem::path& path) {
  Descriptor file;
  RV_RETURN_IF_ERROR(OpenRegular(path, file).status());
  Sha256 sha;
  std::vector<char> buffer(1 << 20);
  while (true) {
    RV_ASSIGN_OR_RETURN(const size_t got, ReadFully(path, file.fd, buffer.data(), buffer.size()));
    sha.Update(std::string_view(buffer.data(), got));
    if (got < buffer.size()) return sha.Finish();
  }
}

absl::StatusOr<MappedFile> MappedFile::Open(const std::filesystem::path& path) {
  Descriptor file;
  RV_ASSIGN_OR_RETURN(const uint64_t size, OpenRegular(path, file));
  MappedFile mapped;
  if (size == 0) return mapped;  // mmap refuses an empty file
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) return FileError(path, "mmap", errno);
  mapped.data_ = static_cast<const std::byte*>(data);
  mapped.size_ = size;
  return mapped;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace rivulet
