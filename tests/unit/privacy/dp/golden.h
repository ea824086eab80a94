#pragma once

#include <gtest/gtest.h>

#include <string>

#include "common/formats/json.h"

namespace rivulet {

// tests/golden/vectors/<name>.json.
inline nlohmann::json Golden(const std::string& name) {
  const auto json =
      ReadJson(std::string(RIVULET_SOURCE_DIR "/tests/golden/vectors/") + name + ".json");
  if (!json.ok()) ADD_FAILURE() << json.status();
  return json.ok() ? *json : nlohmann::json();
}

}  // namespace rivulet
