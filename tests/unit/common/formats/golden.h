#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace rivulet {

// Where shared test data lies: RIVULET_SHARED, else the folder beside the checkout.
inline std::filesystem::path SharedFolder() {
  if (const char* shared = std::getenv("RIVULET_SHARED")) return shared;
  return std::filesystem::path(RIVULET_SOURCE_DIR) / ".." / "shared";
}
inline std::filesystem::path SharedGolden() { return SharedFolder() / "golden"; }
inline std::filesystem::path GoldenInTree() {
  return std::filesystem::path(RIVULET_SOURCE_DIR) / "tests" / "golden" / "formats";
}

}  // namespace rivulet

// For the first line of a test that needs shared data.
#define RV_SKIP_WITHOUT(path)         \
  if (!std::filesystem::exists(path)) \
  GTEST_SKIP() << (path).string() << " is absent: put the shared golden data there"
