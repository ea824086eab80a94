#pragma once

#include <string>

#include "common/settings/settings.h"

namespace rivulet {

// Everything the daemon can be told. Plain data.
struct CoordinatorSettings {
  std::string listen_agents = "0.0.0.0:7440";
  std::string listen_operators = "0.0.0.0:7441";  // "" or the same address: one port for both
  std::string listen_ops = "127.0.0.1:9440";      // HTTP: health and metrics; "" = none
  std::string state_dir = "/var/lib/rivulet/coordinator";
  std::string tls_dir = "/etc/rivulet/pki/coordinator";  // key.pem, cert.pem, ca.pem
  std::string log_level = "info";
  std::string log_format = "auto";
  // How long a round waits for the clients of the last to return. Longer than the agents' longest
  // wait between two attempts to connect (SessionConfig::backoff_cap, 60 s) and what a connection
  // takes: after a restart all of them can be back.
  int return_grace_s = 90;
  bool insecure = false;  // no TLS; this machine alone

  Settings Keys();
  absl::Status Validate() const;  // exit 3
};

}  // namespace rivulet
