#pragma once

#include <algorithm>
#include <span>
#include <string_view>

#include "common/job/job_keys.h"

namespace rivulet {

// The rows of JobKeys(), in its order: how a job trains, what its clients upload and what becomes
// of it, and what changes no model.
std::span<const JobKey> TrainingKeys();
std::span<const JobKey> UploadKeys();
std::span<const JobKey> RunKeys();

// Sections of which a job has one: how it changes the base model.
inline constexpr char kMethods[] = "lora|adapter|full|prompt";

// Whether `name` is one of "a|b|c".
inline bool IsNameAmong(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const size_t bar = std::min(names.find('|'), names.size());
    if (names.substr(0, bar) == name) return true;
    names.remove_prefix(std::min(bar + 1, names.size()));
  }
  return false;
}

}  // namespace rivulet

// In the tables: where a key's value lives.
#define RV_KEY(member) [](JobSpec& spec) -> KeyRef { return &spec.member; }
