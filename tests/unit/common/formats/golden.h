#pragma once

#include "tests/unit/golden_folder.h"

namespace rivulet {

inline std::filesystem::path GoldenInTree() {
  return std::filesystem::path(RIVULET_SOURCE_DIR) / "tests" / "golden" / "formats";
}

}  // namespace rivulet
