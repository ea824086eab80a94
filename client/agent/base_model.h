#pragma once

#include <filesystem>
#include <string>

#include "common/status.h"

namespace rivulet {

// A base model's folder and what its files looked like before they were hashed.
struct BaseModelFolder {
  std::filesystem::path path;
  std::string stamp;  // name, inode, size and times of every file in it
};

// Hashes the folder. Errors: those of HashOfBaseModel.
absl::StatusOr<std::string> HashBaseModel(const std::filesystem::path& path,
                                          BaseModelFolder& folder);

// OK when the folder still holds the model named `hash`: at once when no file has changed since it
// was hashed, else by hashing it again. Errors: FailedPrecondition (exit 9, reported as
// wrong_model) when it holds another one, or none any more.
absl::Status CheckBaseModel(const BaseModelFolder& folder, const std::string& hash);

}  // namespace rivulet
