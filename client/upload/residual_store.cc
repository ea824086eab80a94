#include "client/upload/residual_store.h"

#include <spdlog/spdlog.h>

#include <charconv>
#include <chrono>
#include <functional>
#include <vector>

#include "common/formats/safetensors.h"
#include "common/formats/safetensors_writer.h"
#include "common/io/file.h"
#include "common/io/sha256.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostResidualBytes = uint64_t{64} << 30;
constexpr auto kForgottenAfter = std::chrono::hours(24 * 30);

// Older than what may still be used in `round`.
bool IsStale(uint64_t settled, uint64_t round) {
  return settled + ResidualStore::kMostAbsent < round;
}

// Whether a round that was to move the one state has moved nothing, by the other of a later round.
bool IsLost(const std::string& moves, const std::string& state) {
  return !moves.empty() && moves == state;
}

class MemoryResiduals final : public ResidualStore {
 public:
  std::optional<ParameterSet> Take(const UploadKey& next, const std::string& state,
                                   const Manifest& manifest) override {
    const std::lock_guard lock(mutex_);
    std::erase_if(rests_, [&](const auto& rest) {
      const UploadKey& key = rest.first;
      const bool lost =
          IsOf(key, next) && key.round < next.round && IsLost(rest.second.moves, state);
      return lost || (key.job == next.job && IsStale(key.round, next.round));
    });
    const Rest* last = nullptr;
    for (auto at = First(next); at != rests_.end() && at->first < RoundOf(next); ++at) {
      if (at->second.settled) last = &at->second;
    }
    if (last == nullptr || !SameManifest(last->left.manifest(), manifest).ok()) return std::nullopt;
    return last->left;
  }

  std::optional<ParameterSet> TakeKept(const UploadKey& next, const Manifest& manifest) override {
    const std::lock_guard lock(mutex_);
    Rest* kept = nullptr;
    for (auto at = rests_.lower_bound({next.job, next.client, next.round - 1, 0});
         at != rests_.end() && at->first < RoundOf(next); ++at) {
      kept = &at->second;
    }
    if (kept == nullptr || !SameManifest(kept->left.manifest(), manifest).ok()) return std::nullopt;
    kept->settled = true;
    return kept->left;
  }

  absl::Status Propose(const UploadKey& upload, const std::string& moves,
                       const ParameterSet& rest) override {
    const std::lock_guard lock(mutex_);
    // Of this client only what this upload was made from is still wanted.
    auto last = rests_.end();
    for (auto at = First(upload); at != rests_.end() && IsOf(at->first, upload);) {
      const bool usable = at->second.settled && at->first < RoundOf(upload);
      if (usable && last != rests_.end()) rests_.erase(last);
      if (usable) last = at;
      at = usable ? std::next(at) : rests_.erase(at);
    }
    rests_[upload] = {rest, moves, false};
    return absl::OkStatus();
  }

  absl::Status Settle(const UploadKey& upload) override {
    const std::lock_guard lock(mutex_);
    if (const auto found = rests_.find(upload); found != rests_.end()) found->second.settled = true;
    return absl::OkStatus();
  }

 private:
  struct Rest {
    ParameterSet left;
    std::string moves;
    bool settled = false;
  };
  using Rests = std::map<UploadKey, Rest>;

  static UploadKey RoundOf(const UploadKey& key) { return {key.job, key.client, key.round, 0}; }
  static bool IsOf(const UploadKey& key, const UploadKey& client) {
    return key.job == client.job && key.client == client.client;
  }
  Rests::iterator First(const UploadKey& key) {
    return rests_.lower_bound({key.job, key.client, 0, 0});
  }

  std::mutex mutex_;
  Rests rests_;
};

// What a file's name says.
struct ResidualFile {
  fs::path path;
  std::string owner;
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::string moves;
  bool settled = false;
};

constexpr std::string_view kPrefix = "residual-";
constexpr std::string_view kKept = ".kept", kNew = ".new";

std::optional<ResidualFile> ParseName(const fs::path& path) {
  std::string name = path.filename().string();
  ResidualFile file{path};
  if (!name.starts_with(kPrefix)) return std::nullopt;
  file.settled = name.ends_with(kKept);
  if (!file.settled && !name.ends_with(kNew)) return std::nullopt;
  name.resize(name.size() - (file.settled ? kKept : kNew).size());
  const size_t owner = kPrefix.size(), round = name.find('-', owner);
  const size_t attempt = round == std::string::npos ? round : name.find('-', round + 1);
  const size_t moves = attempt == std::string::npos ? attempt : name.find('-', attempt + 1);
  if (moves == std::string::npos) return std::nullopt;
  file.owner = name.substr(owner, round - owner);
  file.moves = name.substr(moves + 1);
  const char* const text = name.data();
  const auto first = std::from_chars(text + round + 1, text + attempt, file.round);
  const auto second = std::from_chars(text + attempt + 1, text + moves, file.attempt);
  const bool whole = first.ec == std::errc() && first.ptr == text + attempt &&
                     second.ec == std::errc() && second.ptr == text + moves;
  return whole ? std::optional(file) : std::nullopt;
}

class DirectoryResiduals final : public ResidualStore {
 public:
  explicit DirectoryResiduals(fs::path directory) : directory_(std::move(directory)) {
    RemoveForgotten();
  }

  std::optional<ParameterSet> Take(const UploadKey& next, const std::string& state,
                                   const Manifest& manifest) override {
    const std::lock_guard lock(mutex_);
    for (const ResidualFile& file : Files()) {
      const bool earlier = file.owner == OwnerOf(next) && file.round < next.round;
      if (earlier && IsLost(file.moves, state)) Remove(file.path);
    }
    const std::optional<ResidualFile> last = LastBefore(next);
    if (!last || IsStale(last->round, next.round)) return std::nullopt;
    absl::StatusOr<ParameterSet> rest = ReadRest(last->path, manifest);
    if (rest.ok()) return *std::move(rest);
    spdlog::warn("error feedback starts anew: {}", std::string(rest.status().message()));
    return std::nullopt;
  }

  std::optional<ParameterSet> TakeKept(const UploadKey& next, const Manifest& manifest) override {
    const std::lock_guard lock(mutex_);
    std::optional<ResidualFile> kept;
    for (const ResidualFile& file : Files()) {
      if (file.owner != OwnerOf(next) || file.round + 1 != next.round) continue;
      if (!kept || file.attempt > kept->attempt) kept = file;
    }
    if (!kept) return std::nullopt;
    absl::StatusOr<ParameterSet> rest = ReadRest(kept->path, manifest);
    absl::Status usable = rest.status();
    if (usable.ok() && !kept->settled) usable = SettleFile(*kept);
    if (usable.ok()) return *std::move(rest);
    spdlog::warn("the update of the first pass: {}", std::string(usable.message()));
    return std::nullopt;
  }

  absl::Status Propose(const UploadKey& upload, const std::string& moves,
                       const ParameterSet& rest) override {
    const std::lock_guard lock(mutex_);
    const std::optional<ResidualFile> last = LastBefore(upload);
    for (const ResidualFile& file : Files()) {
      const bool wanted = last && file.path == last->path;
      if (file.owner == OwnerOf(upload) && !wanted) Remove(file.path);
    }
    absl::Status written =
        WriteFileAtomically(NewPath(upload, moves), SafetensorsBytes(rest), 0600);
    if (!written.ok() && last) Remove(last->path);
    return written;
  }

  absl::Status Settle(const UploadKey& upload) override {
    const std::lock_guard lock(mutex_);
    for (const ResidualFile& file : Files()) {
      const bool meant = file.owner == OwnerOf(upload) && file.round == upload.round &&
                         file.attempt == upload.attempt && !file.settled;
      if (meant) return SettleFile(file);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status SettleFile(const ResidualFile& file) const {
    fs::path to = file.path;
    to.replace_extension(kKept);
    std::error_code error;
    fs::rename(file.path, to, error);
    if (error) return FileError(file.path, "rename", error.value());
    return SyncDirectory(directory_);
  }
  static std::string OwnerOf(const UploadKey& key) {
    return Sha256Hex(key.job + "\n" + key.client).substr(0, 32);
  }
  fs::path NewPath(const UploadKey& key, const std::string& moves) const {
    return directory_ / (std::string(kPrefix) + OwnerOf(key) + "-" + std::to_string(key.round) +
                         "-" + std::to_string(key.attempt) + "-" + moves + std::string(kNew));
  }
  static void Remove(const fs::path& path) {
    std::error_code ignored;
    fs::remove(path, ignored);
  }

  std::vector<ResidualFile> Files() const {
    std::vector<ResidualFile> files;
    std::error_code error;
    for (fs::directory_iterator at(directory_, error), end; !error && at != end;
         at.increment(error)) {
      if (const auto file = ParseName(at->path())) files.push_back(*file);
    }
    return files;
  }

  std::optional<ResidualFile> LastBefore(const UploadKey& next) const {
    std::optional<ResidualFile> last;
    for (const ResidualFile& file : Files()) {
      if (file.owner != OwnerOf(next) || !file.settled || file.round >= next.round) continue;
      if (!last || std::pair(file.round, file.attempt) > std::pair(last->round, last->attempt)) {
        last = file;
      }
    }
    return last;
  }

  static absl::StatusOr<ParameterSet> ReadRest(const fs::path& path, const Manifest& manifest) {
    RV_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMostResidualBytes));
    absl::StatusOr<ParameterSet> rest = ReadParameterSet(bytes, &manifest);
    if (!rest.ok()) return Annotate(rest.status(), path.string());
    if (absl::Status finite = CheckFinite(*rest); !finite.ok()) {
      return Annotate(finite, path.string());
    }
    return rest;
  }

  // Of jobs that have long ended, and temporary files that a crash left.
  void RemoveForgotten() const {
    std::error_code error;
    const auto now = fs::file_time_type::clock::now();
    for (fs::directory_iterator at(directory_, error), end; !error && at != end;
         at.increment(error)) {
      if (!at->path().filename().string().starts_with(kPrefix)) continue;
      std::error_code ignored;
      const fs::file_time_type written = fs::last_write_time(at->path(), ignored);
      if (!ParseName(at->path()) || now - written > kForgottenAfter) Remove(at->path());
    }
  }

  const fs::path directory_;
  std::mutex mutex_;  // of the files
};

}  // namespace

std::unique_ptr<ResidualStore> MakeMemoryResidualStore() {
  return std::make_unique<MemoryResiduals>();
}

std::unique_ptr<ResidualStore> OpenResidualDirectory(const fs::path& directory) {
  return std::make_unique<DirectoryResiduals>(directory);
}

}  // namespace rivulet
