#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "client/agent/coordinator_link.h"

namespace rivulet {

struct LinkConfig {
  std::string coordinator;    // host:port
  std::filesystem::path tls;  // folder with key.pem, cert.pem, ca.pem; read at every connect,
                              // so that a renewed certificate is taken without a restart
  std::string insecure_uri;   // set instead of `tls`: --insecure, who we say we are
};

// The coordinator over gRPC and mTLS. The certificate is checked here before it is shown: one that
// has expired gives StreamLost with Unauthenticated and the reason.
std::unique_ptr<CoordinatorLink> NewGrpcLink(LinkConfig config);

}  // namespace rivulet
