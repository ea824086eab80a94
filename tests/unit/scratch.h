#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "tests/scratch_root.h"

namespace rivulet {

// A path that the running test alone uses, in this process or any other.
inline std::filesystem::path ScratchPlace() {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string name = std::string(test->test_suite_name()) + "." + test->name();
  std::replace(name.begin(), name.end(), '/', '-');
  return ScratchRoot::Path() / name;
}

// The same with nothing there.
inline std::filesystem::path Scratch() {
  const auto path = ScratchPlace();
  std::filesystem::remove_all(path);
  return path;
}

// The same as an empty folder.
inline std::filesystem::path ScratchFolder() {
  const auto path = Scratch();
  std::filesystem::create_directories(path);
  return path;
}

}  // namespace rivulet
