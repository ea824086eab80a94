#pragma once

#include <string>

#include "common/status.h"

namespace rivulet {

struct HostPort {
  std::string host;  // "[::1]:7440" is host ::1
  int port = 0;      // 0..65535
};

// Errors: InvalidArgument "what: got 'text', want host:port".
absl::StatusOr<HostPort> ParseHostPort(std::string_view what, std::string_view text);

}  // namespace rivulet
