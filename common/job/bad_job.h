#pragma once

#include <string_view>

#include "common/status.h"

namespace rivulet {

// What a job file is refused with: InvalidArgument, and the exit code of bad configuration.
inline absl::Status BadJob(std::string_view message) {
  return WithExit(Refuse(absl::StatusCode::kInvalidArgument, message), ExitCode::kConfig);
}

}  // namespace rivulet
