#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace rivulet {

// Where shared test data lies: RIVULET_SHARED, else the folder beside the checkout.
inline std::filesystem::path SharedFolder() {
  if (const char* shared = std::getenv("RIVULET_SHARED")) return shared;
  return std::filesystem::path(RIVULET_SOURCE_DIR) / ".." / "shared";
}

// What reference implementations wrote and computed: all of it in the shared folder, or the choice
// of it that is in the tree (tests/golden/reference).
inline std::filesystem::path GoldenFolder() {
  const std::filesystem::path all = SharedFolder() / "golden";
  if (std::filesystem::exists(all)) return all;
  return std::filesystem::path(RIVULET_SOURCE_DIR) / "tests" / "golden" / "reference";
}

}  // namespace rivulet

// For the first line of a test that needs data which the tree has no copy of.
#define RV_SKIP_WITHOUT(path)         \
  if (!std::filesystem::exists(path)) \
  GTEST_SKIP() << "no " << (path).string() << ": set RIVULET_SHARED to the shared test data"
