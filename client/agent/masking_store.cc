#include "client/agent/masking_store.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <charconv>
#include <set>

#include "common/io/file.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSessionPrefix = "masking-";
constexpr std::string_view kKeyPrefix = "sealing-";
static_assert(kKeyPrefix.size() == kSessionPrefix.size());
constexpr uint64_t kMaxSession = uint64_t{8} << 30;
constexpr uint64_t kMaxRow = 4 << 20;
constexpr int kNoPeeking = 0600;

std::string FileNameOf(std::string_view key) { return Sha256Hex(key).substr(0, 32); }

absl::Status MakeFolder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return FileError(path, "create", error.value());
  if (chmod(path.c_str(), 0700) != 0) return FileError(path, "chmod", errno);
  return SyncDirectory(path.parent_path());
}

// 0 when there is no file.
absl::StatusOr<uint64_t> ReadNumber(const fs::path& path) {
  const absl::StatusOr<std::string> text = ReadFile(path, 32);
  if (text.status().code() == absl::StatusCode::kNotFound) return 0;
  if (!text.ok()) return text.status();
  uint64_t number = 0;
  const auto end = std::from_chars(text->data(), text->data() + text->size(), number);
  if (end.ec == std::errc() && end.ptr == text->data() + text->size()) return number;
  return Refuse(absl::StatusCode::kDataLoss, path.string() + ": got no number");
}

void Destroy(const SealedFile& file) {
  const absl::Status destroyed = file.Destroy();
  if (!destroyed.ok()) spdlog::error("masking: {}", std::string(destroyed.message()));
}

}  // namespace

class MaskingStore::Rows : public secagg::RoundLedger {
 public:
  Rows(MaskingStore& store, fs::path folder) : store_(store), folder_(std::move(folder)) {}

  absl::StatusOr<std::string> PutOnce(secagg::LedgerTable table, std::string_view key,
                                      std::string_view value) override {
    const std::lock_guard lock(store_.mutex_);
    RV_RETURN_IF_ERROR(store_.fit_);
    RV_ASSIGN_OR_RETURN(std::optional<std::string> row, Read(table, key));
    if (row.has_value()) return *std::move(row);
    RV_RETURN_IF_ERROR(store_.Write(PathOf(table, key), value));
    RV_RETURN_IF_ERROR(store_.CountRow());
    return std::string(value);
  }

  absl::StatusOr<std::optional<std::string>> Find(secagg::LedgerTable table,
                                                  std::string_view key) override {
    const std::lock_guard lock(store_.mutex_);
    RV_RETURN_IF_ERROR(store_.fit_);
    return Read(table, key);
  }

 private:
  fs::path PathOf(secagg::LedgerTable table, std::string_view key) const {
    return folder_ / (std::to_string(static_cast<int>(table)) + "-" + FileNameOf(key));
  }
  absl::StatusOr<std::optional<std::string>> Read(secagg::LedgerTable table,
                                                  std::string_view key) const {
    absl::StatusOr<std::string> row = ReadFile(PathOf(table, key), kMaxRow);
    if (row.status().code() == absl::StatusCode::kNotFound) return std::nullopt;
    if (!row.ok()) return row.status();
    return std::optional(*std::move(row));
  }

  MaskingStore& store_;
  const fs::path folder_;
};

MaskingStore::MaskingStore(fs::path directory)
    : directory_(std::move(directory)), rows_(directory_ / "masking") {}

absl::StatusOr<std::unique_ptr<MaskingStore>> MaskingStore::Open(const fs::path& directory) {
  std::unique_ptr<MaskingStore> store(new MaskingStore(directory));
  RV_RETURN_IF_ERROR(MakeFolder(store->rows_));
  RV_RETURN_IF_ERROR(store->Compare());
  return store;
}

// A row is written, then counted inside, then outside: a crash leaves the outside one behind.
absl::Status MaskingStore::Compare() {
  RV_ASSIGN_OR_RETURN(count_, ReadNumber(rows_ / "rows"));
  RV_ASSIGN_OR_RETURN(const uint64_t outside, ReadNumber(directory_ / "masked-rows"));
  if (count_ == outside) return absl::OkStatus();
  if (count_ == outside + 1) return Write(directory_ / "masked-rows", std::to_string(count_));
  fit_ = Refuse(absl::StatusCode::kFailedPrecondition,
                "masking: this agent's state folder is an older copy of itself (" +
                    std::to_string(count_) + " rows, want " + std::to_string(outside) + ")");
  spdlog::error("{}; it takes part in no masked round", std::string(fit_.message()));
  return absl::OkStatus();
}

absl::Status MaskingStore::CountRow() {
  RV_RETURN_IF_ERROR(Write(rows_ / "rows", std::to_string(count_ + 1)));
  ++count_;
  return Write(directory_ / "masked-rows", std::to_string(count_));
}

// What is there after a failed fsync may be gone after a power cut: nothing that can be read from
// now on is taken for durable.
absl::Status MaskingStore::Noted(absl::Status written) {
  if (written.code() != absl::StatusCode::kDataLoss) return written;
  fit_ = written;
  spdlog::error("{}; this agent takes part in no masked round until it is started again",
                std::string(written.message()));
  return written;
}

absl::Status MaskingStore::Write(const fs::path& path, std::string_view bytes) {
  return Noted(WriteFileAtomically(path, bytes, kNoPeeking));
}

std::vector<std::string> MaskingStore::Sessions() {
  const std::lock_guard lock(mutex_);
  std::set<std::string> hashes;
  std::vector<fs::path> leftovers;  // of writes that were cut off
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_, error)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name.starts_with(kSessionPrefix) || name.starts_with(kKeyPrefix);
    if (name.starts_with("masked-rows.") || (ours && name.find('.') != std::string::npos)) {
      leftovers.push_back(entry.path());
    } else if (ours) {
      hashes.insert(name.substr(kSessionPrefix.size()));
    }
  }
  for (const fs::path& path : leftovers) fs::remove(path, error);
  std::vector<std::string> sessions;
  for (const std::string& hash : hashes) {
    const SealedFile file = SessionFile(hash);
    absl::StatusOr<std::string> bytes = file.Read(kMaxSession);
    if (bytes.ok()) {
      sessions.push_back(*std::move(bytes));
    } else {
      Destroy(file);
    }
  }
  return sessions;
}

absl::Status MaskingStore::PutSession(const TaskKey& key, std::string_view bytes) {
  const std::lock_guard lock(mutex_);
  RV_RETURN_IF_ERROR(fit_);
  return Noted(SessionFile(FileNameOf(TextOf(key))).Write(bytes));
}

void MaskingStore::EraseSession(const TaskKey& key) {
  Destroy(SessionFile(FileNameOf(TextOf(key))));
}

absl::StatusOr<std::unique_ptr<secagg::RoundLedger>> MaskingStore::LedgerOf(const std::string& job,
                                                                            uint64_t round) {
  const std::lock_guard lock(mutex_);
  RV_RETURN_IF_ERROR(fit_);
  const fs::path folder = rows_ / FileNameOf(job);
  RV_RETURN_IF_ERROR(RaiseFloor(folder, round));
  const fs::path rows = folder / std::to_string(round);
  RV_RETURN_IF_ERROR(Noted(MakeFolder(rows)));
  RV_RETURN_IF_ERROR(Noted(SyncDirectory(rows)));  // rows of a process before whose fsync failed
  return std::make_unique<Rows>(*this, rows);
}

absl::Status MaskingStore::RaiseFloor(const fs::path& job, uint64_t round) {
  RV_RETURN_IF_ERROR(Noted(MakeFolder(job)));
  RV_ASSIGN_OR_RETURN(const uint64_t floor, ReadNumber(job / "floor"));
  if (round < floor) {
    return Refuse(absl::StatusCode::kFailedPrecondition,
                  "masking: got round " + std::to_string(round) +
                      " of a job, but this agent has begun round " + std::to_string(floor));
  }
  if (round == floor) return absl::OkStatus();
  return Write(job / "floor", std::to_string(round));
}

void MaskingStore::DropRowsBefore(const std::string& job, uint64_t round) {
  const std::lock_guard lock(mutex_);
  const fs::path folder = rows_ / FileNameOf(job);
  const absl::StatusOr<uint64_t> floor = ReadNumber(folder / "floor");
  if (!fit_.ok() || !floor.ok() || *floor < round) return;  // they are still needed
  std::error_code error;
  std::vector<fs::path> earlier;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    uint64_t number = 0;
    const auto end = std::from_chars(name.data(), name.data() + name.size(), number);
    const bool whole = end.ec == std::errc() && end.ptr == name.data() + name.size();
    if (whole && number < round) earlier.push_back(entry.path());
  }
  for (const fs::path& path : earlier) fs::remove_all(path, error);
}

SealedFile MaskingStore::SessionFile(const std::string& hash) const {
  return {directory_ / (std::string(kSessionPrefix) + hash),
          directory_ / (std::string(kKeyPrefix) + hash)};
}

}  // namespace rivulet
