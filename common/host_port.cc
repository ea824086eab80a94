#include "common/host_port.h"

#include <charconv>

namespace rivulet {

absl::StatusOr<HostPort> ParseHostPort(std::string_view what, std::string_view text) {
  const size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  int port = -1;
  if (colon != std::string_view::npos) {
    const char* const end = text.data() + text.size();
    const auto [last, error] = std::from_chars(text.data() + colon + 1, end, port);
    if (error != std::errc() || last != end) port = -1;
  }
  if (host.empty() || port < 0 || port > 65535) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  std::string(what) + ": got '" + std::string(text) + "', want host:port");
  }
  return HostPort{std::string(host), port};
}

}  // namespace rivulet
