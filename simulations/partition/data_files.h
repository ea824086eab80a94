#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/status.h"

namespace rivulet {

// The data files that simulate.dataset-path means: one file; those in a folder (not below it); or
// those that match a glob (*, ?, [...]). Sorted by path. Of a folder or glob only regular files
// count: no symbolic links, no hidden files, none that end in .dat or .u8 (indices beside fortune
// files), none below `min_bytes`.
// Errors: InvalidArgument for an empty path; NotFound when no file is left.
absl::StatusOr<std::vector<std::filesystem::path>> ListDataFiles(const std::string& dataset_path,
                                                                 int64_t min_bytes);

}  // namespace rivulet
