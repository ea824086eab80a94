#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/status.h"

namespace rivulet {

// What the endpoints ask; called from HTTP threads.
struct OpsQuestions {
  std::function<bool()> alive;  // /livez
  // /readyz: every check by name; ready when all hold.
  std::function<std::vector<std::pair<std::string, bool>>()> ready;
  std::function<std::string()> metrics;  // /metrics
};

// HTTP on the ops address: /livez, /readyz, /startupz, /metrics; read only. Stops in its
// destructor.
class OpsServer {
 public:
  // `address` host:port, port 0 takes a free one. Errors: Unavailable (exit 4) naming the address.
  static absl::StatusOr<std::unique_ptr<OpsServer>> Start(const std::string& address,
                                                          OpsQuestions questions);
  virtual ~OpsServer() = default;
  virtual int port() const = 0;
};

}  // namespace rivulet
