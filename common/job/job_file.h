#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/job/job_spec.h"

namespace rivulet {

// Where a value came from; of two, the later kind wins.
struct KeyOrigin {
  enum class Kind { kDefault, kFile, kEnvironment, kFlag };
  Kind kind = Kind::kDefault;
  std::string where;  // file, variable or flag
  int line = 0;       // in the file, from 1
};
std::string OriginText(
    const KeyOrigin& origin);  // "default", "job.toml:14", "env RIVULET_JOB__SEED", "flag --set"

struct LoadedJob {
  JobSpec spec;                              // not validated yet
  std::map<std::string, KeyOrigin> origins;  // by key path; a key that is absent has its default
  // Aliases, unused variables and defaults that another key moved, one sentence each.
  std::vector<std::string> notes;

  // spec.Validate(), where a value out of range is named with its origin: "train.learning-rate: got
  // -1.0 (env RIVULET_TRAIN__LEARNING_RATE), want a number 0..1000".
  absl::Status Validate() const;
};

// (name, value) pairs such as ("RIVULET_JOB__SEED", "7").
using Environment = std::vector<std::pair<std::string, std::string>>;
Environment ProcessEnvironment();  // the RIVULET_* variables of this process

// Reads a job: `toml`, then RIVULET_SECTION__KEY variables, then `sets` ("path=value", the value as
// TOML or else a plain string). `name` is what messages call the file. Exactly one of [lora],
// [adapter], [full] and [prompt] may be present; none means lora. Under masks or a
// privacy.mechanism strategy.weighting is "uniform", and under a mechanism data.held-out-fraction
// 0, where neither is set (with a note). Errors, all InvalidArgument with
// exit 3: TOML syntax, unknown key (with file, line, column and the nearest known key), wrong type,
// a key set twice with different values.
absl::StatusOr<LoadedJob> ParseJob(std::string_view toml, std::string_view name,
                                   const Environment& environment = {},
                                   const std::vector<std::string>& sets = {});
// The same from a file of at most 1 MiB.
absl::StatusOr<LoadedJob> LoadJob(const std::filesystem::path& path, const Environment& environment,
                                  const std::vector<std::string>& sets);

// The complete file, every key with its value; parses back to the same spec.
std::string JobToml(const JobSpec& spec);
// "KEY  VALUE  ORIGIN", one line a key.
std::string OriginTable(const LoadedJob& job);
// [{"key","value","origin":{"kind","path","line"}}]
std::string OriginJson(const LoadedJob& job);

}  // namespace rivulet
