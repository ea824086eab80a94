#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace rivulet {

// A file of this test alone.
inline std::filesystem::path ScratchFile(const std::string& name, std::string_view content) {
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / info->test_suite_name() / info->name();
  std::filesystem::create_directories(folder);
  std::ofstream(folder / name, std::ios::binary) << content;
  return folder / name;
}

}  // namespace rivulet
