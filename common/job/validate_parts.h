#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

#include "common/job/bad_job.h"
#include "common/job/job_keys.h"

namespace rivulet {

// The parts of CheckPrivateUpload (validate_private.h), by section of the job file.
absl::Status CheckMasking(const JobSpec& spec);  // [compression] under [secure-aggregation] too
absl::Status CheckPrivacy(const JobSpec& spec);
absl::Status CheckRobust(const JobSpec& spec);

// [scalars], and what does not go with it in other sections.
absl::Status CheckScalars(const JobSpec& spec);

// train.target-cosine, as far as it can be checked without the model (target_cosine.h).
absl::Status CheckTargetCosine(const JobSpec& spec);

inline bool IsAmong(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// "one and other: why".
inline absl::Status Clash(const std::string& one, const std::string& other,
                          const std::string& why) {
  return BadJob(one + " and " + other + ": " + why);
}

// A string key as it stands in the file.
inline std::string Set(std::string_view key, std::string_view value) {
  return std::string(key) + " = \"" + std::string(value) + "\"";
}

inline std::string DirectionText(const TrainSection& train) {
  return Set("train.direction", train.direction) +
         " and train.direction-renewal = " + std::to_string(train.direction_renewal);
}

inline constexpr char kMasked[] = "secure-aggregation.enabled = true";

}  // namespace rivulet
