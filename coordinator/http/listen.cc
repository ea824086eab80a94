#include "coordinator/http/listen.h"

#include <cstring>

#include "common/host_port.h"

namespace rivulet {
namespace {

constexpr size_t kThreads = 4;

}  // namespace

void SetLimits(httplib::Server& server, size_t max_body) {
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  server.set_payload_max_length(max_body);
  server.set_read_timeout(std::chrono::seconds(5));
  // No SO_REUSEPORT: a taken port must be an error. Connections of the last run that are still
  // timing out are none.
  server.set_socket_options([](socket_t fd) {
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
}

absl::StatusOr<int> Bind(httplib::Server& server, const std::string& what,
                         const std::string& address) {
  const absl::StatusOr<HostPort> at = ParseHostPort(what, address);
  if (!at.ok()) return WithExit(at.status(), ExitCode::kConnection);
  const int port = at->port == 0 ? server.bind_to_any_port(at->host.c_str())
                   : server.bind_to_port(at->host.c_str(), at->port) ? at->port
                                                                     : -1;
  if (port > 0) return port;
  return WithExit(
      Refuse(absl::StatusCode::kUnavailable, what + ": " + address + ": " + std::strerror(errno)),
      ExitCode::kConnection);
}

Listening::Listening(httplib::Server& server)
    : server_(server), thread_([this] {
        server_.listen_after_bind();
        ended_ = true;
      }) {}

Listening::~Listening() {
  // stop() does nothing before the thread listens, and then nothing would stop it any more.
  while (!server_.is_running() && !ended_) std::this_thread::yield();
  server_.stop();
  thread_.join();
}

}  // namespace rivulet
