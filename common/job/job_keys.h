#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/job/job_spec.h"

namespace rivulet {

// Where a key's value lives in a JobSpec.
using KeyRef = std::variant<int*, int64_t*, uint64_t*, double*, bool*, std::string*,
                            std::vector<std::string>*, std::vector<int>*, std::chrono::seconds*>;

// One key of job.toml. The table of these rows is the only list of keys: parser, environment,
// --set, printed configuration, job document, reference page and range checks all read it.
struct JobKey {
  std::string_view path;  // "train.learning-rate"
  std::string_view help;  // one sentence
  KeyRef (*ref)(JobSpec&);
  double low = 0,
         high = 0;  // numbers and durations (seconds), both included; low == high: no bounds
  std::string_view choices = {};  // strings: "adamw|sgd"; empty = any
  // Names known from elsewhere that are accepted: "job.num-server-rounds|job.comm-round".
  std::string_view alias = {};
};

std::span<const JobKey> JobKeys();
// By path or alias; underscores count as hyphens. Null when unknown.
const JobKey* FindJobKey(std::string_view path);
std::vector<std::string> JobKeyPaths();

// Whether a key is part of the job document: [simulate] and [track] change no result.
bool InJobDocument(const JobKey& key);

// "1..1024", "adamw|sgd", "a duration such as 90s, 20m, 2h, 1d", ...: what a value must be.
std::string WantedOf(const JobKey& key);
// InvalidArgument "train.optimizer: got "adam" (job.toml:12), want adamw|sgd", where `origin` is
// left out when empty. Text must be UTF-8 without NUL, at most 4,096 bytes; lists have at most
// 1,024 items.
absl::Status CheckRange(const JobKey& key, const JobSpec& spec, std::string_view origin = "");
// The value as TOML text.
std::string ValueText(const JobKey& key, const JobSpec& spec);
// A value for a message: at most 200 bytes and "...", up to the first byte that is not UTF-8.
std::string Shortened(std::string text);

// "90s", "15m", "2h", "1d". InvalidArgument without a known unit.
absl::StatusOr<std::chrono::seconds> ParseDuration(std::string_view text);
std::string DurationText(std::chrono::seconds duration);
// The shortest decimal that reads back as the same double, always with a point or an exponent.
std::string NumberText(double value);

}  // namespace rivulet
