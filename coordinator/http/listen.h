#pragma once

#include <httplib.h>

#include <atomic>
#include <string>
#include <thread>

#include "common/status.h"

namespace rivulet {

// What our HTTP servers have in common: few threads, short waits, bodies of at most `max_body`
// bytes, and a port that another process has is an error.
void SetLimits(httplib::Server& server, size_t max_body);

// Binds the server to "host:port", port 0 takes a free one; the port then. Errors (exit 4):
// Unavailable "what: address: why"; InvalidArgument for another text.
absl::StatusOr<int> Bind(httplib::Server& server, const std::string& what,
                         const std::string& address);

// A bound server that answers on a thread of its own, until this is destroyed.
class Listening {
 public:
  explicit Listening(httplib::Server& server);
  ~Listening();
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

 private:
  httplib::Server& server_;
  std::atomic<bool> ended_{false};
  std::thread thread_;  // last: it uses the others
};

}  // namespace rivulet
