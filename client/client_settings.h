#pragma once

#include <string>

#include "common/settings/settings.h"

namespace rivulet {

// Everything the agent can be told. Plain data.
struct ClientSettings {
  std::string coordinator = "127.0.0.1:7440";         // host:port
  std::string tls_dir = "/etc/rivulet/pki";           // key.pem, cert.pem, ca.pem
  std::string state_dir = "/var/lib/rivulet/client";  // tasks and updates in hand
  std::string policy = "/etc/rivulet/policy.toml";    // what the owner allows
  std::string log_level = "info";
  std::string log_format = "auto";
  int drain_timeout_s = 60;  // SIGTERM: how long work in hand may take
  bool insecure = false;     // no TLS; this machine alone
  std::string name;          // only with `insecure`: federation/organisation/name

  Settings Keys();
  absl::Status Validate() const;  // exit 3
};

}  // namespace rivulet
