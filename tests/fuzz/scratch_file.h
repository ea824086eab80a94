#pragma once

#include <filesystem>
#include <fstream>
#include <string_view>

#include "tests/fuzz/require.h"
#include "tests/scratch_root.h"

namespace rivulet {

// A file of this process with these bytes, for parsers that read files. Not durable: a search
// writes thousands a second.
inline std::filesystem::path ScratchFile(std::string_view name, std::string_view bytes) {
  const std::filesystem::path path = ScratchRoot::Path() / name;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  Require(file.good());
  return path;
}

}  // namespace rivulet
