#include "simulations/partition/data_files.h"

#include <glob.h>

#include <algorithm>

namespace rivulet {
namespace {

namespace fs = std::filesystem;

bool IsDataFile(const fs::path& path, int64_t min_bytes) {
  std::error_code error;
  if (fs::symlink_status(path, error).type() != fs::file_type::regular) return false;
  const std::string name = path.filename().string();
  if (name.starts_with('.') || name.ends_with(".dat") || name.ends_with(".u8")) return false;
  const auto size = fs::file_size(path, error);
  return !error && static_cast<int64_t>(size) >= min_bytes;
}

absl::StatusOr<std::vector<fs::path>> FolderEntries(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    entries.push_back(at->path());
  }
  if (error) {
    return Refuse(absl::StatusCode::kPermissionDenied, folder.string() + ": " + error.message());
  }
  return entries;
}

std::vector<fs::path> GlobEntries(const std::string& pattern) {
  glob_t found{};
  std::vector<fs::path> entries;
  if (glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found) == 0) {
    entries.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  globfree(&found);
  return entries;
}

}  // namespace

absl::StatusOr<std::vector<fs::path>> ListDataFiles(const std::string& dataset_path,
                                                    int64_t min_bytes) {
  if (dataset_path.empty()) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "simulate.dataset-path: got \"\", want a file, folder or glob");
  }
  std::error_code ignored;
  if (fs::is_regular_file(dataset_path, ignored)) return std::vector<fs::path>{dataset_path};
  std::vector<fs::path> entries;
  if (fs::is_directory(dataset_path, ignored)) {
    RV_ASSIGN_OR_RETURN(entries, FolderEntries(dataset_path));
  } else {
    entries = GlobEntries(dataset_path);
  }
  std::erase_if(entries, [&](const fs::path& path) { return !IsDataFile(path, min_bytes); });
  if (entries.empty()) {
    std::string size;
    if (min_bytes > 0) size = " of at least " + std::to_string(min_bytes) + " bytes";
    return Refuse(absl::StatusCode::kNotFound, "simulate.dataset-path: got '" + dataset_path +
                                                   "', want a file, folder or pattern with regular "
                                                   "files" +
                                                   size);
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

}  // namespace rivulet
