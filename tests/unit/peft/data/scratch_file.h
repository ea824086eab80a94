#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "tests/unit/scratch.h"

namespace rivulet {

// A file of this test alone.
inline std::filesystem::path ScratchFile(const std::string& name, std::string_view content) {
  const std::filesystem::path folder = ScratchPlace();
  std::filesystem::create_directories(folder);
  std::ofstream(folder / name, std::ios::binary) << content;
  return folder / name;
}

}  // namespace rivulet
