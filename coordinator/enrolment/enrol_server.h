#pragma once

#include <memory>
#include <string>

#include "coordinator/enrolment/authority.h"

namespace rivulet {

// The HTTPS of proto/rivulet/v1/enrolment.proto. Stops in its destructor.
class EnrolServer {
 public:
  // `address` host:port, port 0 takes a free one; `tls` a server certificate. `authority` must
  // outlive it. Errors: Unavailable (exit 4).
  static absl::StatusOr<std::unique_ptr<EnrolServer>> Start(const std::string& address,
                                                            const Credentials& tls,
                                                            EnrolmentAuthority& authority);
  virtual ~EnrolServer() = default;
  virtual int port() const = 0;
};

}  // namespace rivulet
