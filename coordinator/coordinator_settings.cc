#include "coordinator/coordinator_settings.h"

namespace rivulet {

Settings CoordinatorSettings::Keys() {
  Settings keys;
  keys.Add("listen.agents", &listen_agents, "host:port for agents; port 0 takes a free one");
  keys.Add("listen.operators", &listen_operators, "host:port for operators; empty: the agents'");
  keys.Add("listen.ops", &listen_ops, "host:port for health and metrics (HTTP); empty: none");
  keys.Add("state.dir", &state_dir, "folder of the database and the blobs");
  keys.Add("tls.dir", &tls_dir, "folder with key.pem, cert.pem and ca.pem");
  keys.Add("log.level", &log_level, "error, warn, info, debug or trace");
  keys.Add("log.format", &log_format, "text, json or auto");
  keys.Add("rounds.return-grace", &return_grace_s,
           "seconds that a round waits for the clients of the last one to return");
  keys.Add("insecure", &insecure, "no TLS: for trials on this machine alone");
  return keys;
}

absl::Status CoordinatorSettings::Validate() const {
  const auto bad = [](const std::string& what) {
    return WithExit(Refuse(absl::StatusCode::kInvalidArgument, what), ExitCode::kConfig);
  };
  if (listen_agents.empty()) return bad("listen.agents: got nothing, want host:port");
  if (state_dir.empty()) return bad("state.dir: got nothing, want a folder");
  if (return_grace_s < 0) {
    return bad("rounds.return-grace: got " + std::to_string(return_grace_s) + ", want >= 0");
  }
  return absl::OkStatus();
}

}  // namespace rivulet
