#include "common/formats/fresh_folder.h"

#include <algorithm>
#include <vector>

#include "common/io/file.h"

namespace rivulet {
namespace {

constexpr const char* kWeightFiles[] = {"model.safetensors", "model.safetensors.index.json"};

}  // namespace

absl::StatusOr<FreshFolder> FreshFolder::In(const std::filesystem::path& out, bool overwrite) {
  for (const char* name : kWeightFiles) {
    if (!overwrite && std::filesystem::exists(out / name))
      return Refuse(absl::StatusCode::kAlreadyExists,
                    out.string() + ": holds a model already, want an empty folder or --force");
  }
  FreshFolder fresh(out);
  std::error_code error;
  std::filesystem::remove_all(fresh.path_, error);  // of a merge that was killed
  std::filesystem::create_directories(fresh.path_, error);
  if (error) return FileError(out, "create", error.value());
  return fresh;
}

FreshFolder::~FreshFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

absl::Status FreshFolder::MoveOut() const {
  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (std::filesystem::directory_iterator entry(path_, error), end; !error && entry != end;
       entry.increment(error))
    files.push_back(entry->path().filename());
  if (error) return FileError(path_, "list", error.value());
  for (const std::filesystem::path& name : files) {
    std::filesystem::rename(path_ / name, out_ / name, error);
    if (error) return FileError(out_ / name, "rename", error.value());
  }
  for (const char* name : kWeightFiles) {
    if (std::find(files.begin(), files.end(), name) != files.end()) continue;
    std::filesystem::remove(out_ / name, error);
    if (error) return FileError(out_ / name, "remove", error.value());
  }
  return SyncDirectory(out_);
}

}  // namespace rivulet
