#include "client/agent/base_model.h"

#include <sys/stat.h>

#include <set>

#include "client/agent/failure_report.h"
#include "common/formats/model_config.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

std::string StampOf(const fs::path& folder) {
  std::set<std::string> rows;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    struct stat info;
    if (stat(entry->path().c_str(), &info) != 0) continue;  // follows links, as loading does
    std::string row = entry->path().filename().string();
    for (const auto number :
         {static_cast<int64_t>(info.st_ino), static_cast<int64_t>(info.st_size),
          static_cast<int64_t>(info.st_mtim.tv_sec), static_cast<int64_t>(info.st_mtim.tv_nsec),
          static_cast<int64_t>(info.st_ctim.tv_sec), static_cast<int64_t>(info.st_ctim.tv_nsec)}) {
      row += ' ' + std::to_string(number);
    }
    rows.insert(std::move(row));
  }
  std::string stamp;
  for (const std::string& row : rows) stamp += row + '\n';
  return stamp;
}

}  // namespace

absl::StatusOr<std::string> HashBaseModel(const fs::path& path, BaseModelFolder& folder) {
  folder = {path, StampOf(path)};  // before: a change while hashing shows as one
  return HashOfBaseModel(path);
}

absl::Status CheckBaseModel(const BaseModelFolder& folder, const std::string& hash) {
  if (StampOf(folder.path) == folder.stamp) return absl::OkStatus();
  const absl::StatusOr<std::string> now = HashOfBaseModel(folder.path);
  if (now.ok() && *now == hash) return absl::OkStatus();
  const std::string got = now.ok() ? *now : std::string(now.status().message());
  return WithReport(
      WithExit(Refuse(absl::StatusCode::kFailedPrecondition,
                      "base model " + folder.path.string() + ": got " + got + ", want " + hash),
               ExitCode::kPolicy),
      "wrong_model", "base model " + hash + " has changed here since it was offered");
}

}  // namespace rivulet
