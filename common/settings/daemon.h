#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "common/settings/settings.h"

namespace rivulet {

// What the coordinator and the agent can both be told.
struct DaemonSettings {
  std::string tls_dir;    // key.pem, cert.pem, ca.pem
  std::string state_dir;  // what must survive
  std::string log_level = "info";
  std::string log_format = "auto";
  bool insecure = false;  // no TLS; this machine alone

  void AddTo(Settings& keys);
};

// A daemon's command line: `name verb [options]`.
struct DaemonProgram {
  std::string name;         // "rivulet-coordinator"
  std::string about;        // one line
  std::string verb;         // "serve"
  std::string verb_help;    // one line
  std::string config_file;  // "coordinator.toml"
  std::string exit_codes;   // what can come, for the help text
};

// Reads file, environment and flags into the targets of `keys`, then runs. The exit code; what went
// wrong has been printed.
int RunDaemon(const DaemonProgram& program, Settings keys, int argc, char** argv,
              const std::function<absl::Status()>& run);

}  // namespace rivulet
