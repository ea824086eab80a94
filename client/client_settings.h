#pragma once

#include <string>

#include "common/settings/daemon.h"

namespace rivulet {

// Everything the agent can be told. Plain data.
struct ClientSettings {
  DaemonSettings daemon{.tls_dir = "/etc/rivulet/pki", .state_dir = "/var/lib/rivulet/client"};
  std::string coordinator = "127.0.0.1:7440";       // host:port
  std::string policy = "/etc/rivulet/policy.toml";  // what the owner allows
  int drain_timeout_s = 60;                         // SIGTERM: how long work in hand may take
  std::string name;  // only with `insecure`: federation/organisation/name

  Settings Keys();
  absl::Status Validate() const;  // exit 3, or 2 for an insecure address off this machine
};

}  // namespace rivulet
