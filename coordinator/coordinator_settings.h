#pragma once

#include <string>

#include "common/settings/daemon.h"

namespace rivulet {

// Everything the coordinator can be told. Plain data.
struct CoordinatorSettings {
  DaemonSettings daemon{.tls_dir = "/etc/rivulet/pki/coordinator",
                        .state_dir = "/var/lib/rivulet/coordinator"};
  std::string listen_agents = "0.0.0.0:7440";
  std::string listen_operators = "0.0.0.0:7441";  // "" or the same address: one port for both
  std::string listen_ops = "127.0.0.1:9440";      // HTTP: health and metrics; "" = none
  // How long a round waits for the clients of the last to return. Longer than the agents' longest
  // wait between two attempts to connect (SessionConfig::backoff_cap, 60 s) and what a connection
  // takes: after a restart all of them can be back.
  int return_grace_s = 90;
  int low_water_mib = 256;  // disk left below which uploads are put off

  Settings Keys();
  absl::Status Validate() const;  // exit 3
};

}  // namespace rivulet
