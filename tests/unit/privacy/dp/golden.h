#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "common/formats/json.h"

namespace rivulet {

// tests/golden/vectors/<name>.json, read once.
inline const nlohmann::json& Golden(const std::string& name) {
  static std::map<std::string, nlohmann::json> files;
  const auto [file, is_new] = files.try_emplace(name);
  if (is_new) {
    auto json = ReadJson(std::string(RIVULET_SOURCE_DIR "/tests/golden/vectors/") + name + ".json");
    EXPECT_TRUE(json.ok()) << json.status();
    if (json.ok()) file->second = *std::move(json);
  }
  return file->second;
}

}  // namespace rivulet
