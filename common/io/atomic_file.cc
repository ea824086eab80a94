#include "common/io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "common/io/file.h"

namespace rivulet {

struct AtomicFile::State {
  std::filesystem::path path;
  std::string temporary;
  int fd = -1;

  ~State() {
    if (fd >= 0) close(fd);
    if (!temporary.empty()) unlink(temporary.c_str());
  }
};

AtomicFile::AtomicFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
AtomicFile::~AtomicFile() = default;
AtomicFile::AtomicFile(AtomicFile&&) noexcept = default;
AtomicFile& AtomicFile::operator=(AtomicFile&&) noexcept = default;

absl::StatusOr<AtomicFile> AtomicFile::Create(const std::filesystem::path& path, int mode) {
  auto state = std::make_unique<State>();
  state->path = path;
  std::string temporary = path.string() + ".XXXXXX";
  state->fd = mkostemp(temporary.data(), O_CLOEXEC);
  if (state->fd < 0) return FileError(path, "create", errno);
  state->temporary = temporary;
  if (fchmod(state->fd, mode) != 0) return FileError(temporary, "chmod", errno);
  return AtomicFile(std::move(state));
}

absl::Status AtomicFile::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(state_->fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return FileError(state_->path, "write", errno);
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Append(std::span<const std::byte> bytes) {
  return Append(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

absl::Status AtomicFile::Commit() {
  if (fsync(state_->fd) != 0) {
    // A full disk may show only now; the file has no name yet, and nothing of it is missed.
    const absl::Status status = FileError(state_->path, "fsync", errno);
    if (status.code() == absl::StatusCode::kResourceExhausted) return status;
    return Refuse(absl::StatusCode::kDataLoss, std::string(status.message()));
  }
  if (rename(state_->temporary.c_str(), state_->path.c_str()) != 0)
    return FileError(state_->path, "rename", errno);
  state_->temporary.clear();
  const std::filesystem::path parent = state_->path.parent_path();
  state_.reset();
  const absl::Status synced = SyncDirectory(parent);
  if (synced.ok()) return synced;
  // Whatever it was: the file has its name already, and may lose it again.
  return Refuse(absl::StatusCode::kDataLoss, std::string(synced.message()));
}

}  // namespace rivulet
