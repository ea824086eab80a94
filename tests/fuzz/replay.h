#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

// Fuzz targets that are compiled together, by name.

using ReplayFunction = int (*)(const uint8_t* data, size_t size);

inline std::map<std::string, ReplayFunction>& ReplayTargets() {
  static std::map<std::string, ReplayFunction> targets;
  return targets;
}

struct ReplayTarget {
  ReplayTarget(const char* name, ReplayFunction function) { ReplayTargets()[name] = function; }
};
