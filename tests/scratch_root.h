#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace rivulet {

// The folder of one process of tests, gone when it ends.
class ScratchRoot {
 public:
  static const std::filesystem::path& Path() {
    static const ScratchRoot root;
    return root.path_;
  }
  ScratchRoot(const ScratchRoot&) = delete;
  ScratchRoot& operator=(const ScratchRoot&) = delete;

 private:
  ScratchRoot() {
    std::string name = (std::filesystem::temp_directory_path() / "rivulet-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~ScratchRoot() {
    std::error_code ignored;
    if (getpid() == owner_) std::filesystem::remove_all(path_, ignored);
  }

  const pid_t owner_ = getpid();
  std::filesystem::path path_;
};

}  // namespace rivulet
