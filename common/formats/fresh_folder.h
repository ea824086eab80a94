#pragma once

#include <filesystem>
#include <utility>

#include "common/status.h"

namespace rivulet {

// Where a model is written before it takes the place of the one that is there: a folder inside
// `out`, gone with this.
class FreshFolder {
 public:
  // Errors: AlreadyExists when `out` holds a model and `overwrite` is false; those of writing.
  static absl::StatusOr<FreshFolder> In(const std::filesystem::path& out, bool overwrite);
  FreshFolder(FreshFolder&& other) noexcept
      : out_(std::move(other.out_)), path_(std::exchange(other.path_, {})) {}
  ~FreshFolder();

  const std::filesystem::path& path() const { return path_; }

  // Its files replace those of their names, and weights of another form go: a reader might prefer
  // them.
  absl::Status MoveOut() const;

 private:
  explicit FreshFolder(const std::filesystem::path& out) : out_(out), path_(out / ".merging") {}

  std::filesystem::path out_, path_;
};

}  // namespace rivulet
