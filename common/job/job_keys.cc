#include "common/job/job_keys.h"

#include <algorithm>

#include "common/job/key_tables.h"

namespace rivulet {
namespace {

std::string Hyphenated(std::string_view path) {
  std::string out(path);
  std::replace(out.begin(), out.end(), '_', '-');
  return out;
}

}  // namespace

std::span<const JobKey> JobKeys() {
  static const std::vector<JobKey> keys = [] {
    std::vector<JobKey> all;
    for (const auto& table : {TrainingKeys(), UploadKeys(), RunKeys()}) {
      all.insert(all.end(), table.begin(), table.end());
    }
    return all;
  }();
  return keys;
}

const JobKey* FindJobKey(std::string_view path) {
  const std::string name = Hyphenated(path);
  for (const JobKey& key : JobKeys()) {
    if (key.path == name || IsNameAmong(key.alias, name)) return &key;
  }
  return nullptr;
}

std::vector<std::string> JobKeyPaths() {
  std::vector<std::string> paths;
  for (const JobKey& key : JobKeys()) paths.emplace_back(key.path);
  return paths;
}

bool InJobDocument(const JobKey& key) {
  return !key.path.starts_with("simulate.") && !key.path.starts_with("track.");
}

}  // namespace rivulet
