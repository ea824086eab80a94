#pragma once

#include <string_view>

#include "common/status.h"

namespace rivulet {

// What a file of a foreign format is refused with: InvalidArgument.
inline absl::Status Malformed(std::string_view message) {
  return Refuse(absl::StatusCode::kInvalidArgument, message);
}

}  // namespace rivulet
