#include "coordinator/coordinator_settings.h"

namespace rivulet {

Settings CoordinatorSettings::Keys() {
  Settings keys;
  keys.Add("listen.agents", &listen_agents, "host:port for agents; port 0 takes a free one");
  keys.Add("listen.operators", &listen_operators, "host:port for operators; empty: the agents'");
  keys.Add("listen.ops", &listen_ops, "host:port for health and metrics (HTTP); empty: none");
  daemon.AddTo(keys);
  keys.Add("state.low-water", &low_water_mib, "MiB of free disk below which uploads are put off");
  keys.Add("rounds.return-grace", &return_grace_s,
           "seconds that a round waits for the clients of the last one to return");
  return keys;
}

absl::Status CoordinatorSettings::Validate() const {
  if (listen_agents.empty()) return BadSetting("listen.agents: got nothing, want host:port");
  if (daemon.state_dir.empty()) return BadSetting("state.dir: got nothing, want a folder");
  if (return_grace_s < 0) {
    return BadSetting("rounds.return-grace: got " + std::to_string(return_grace_s) + ", want >= 0");
  }
  if (low_water_mib < 0) {
    return BadSetting("state.low-water: got " + std::to_string(low_water_mib) + ", want >= 0");
  }
  return absl::OkStatus();
}

}  // namespace rivulet
