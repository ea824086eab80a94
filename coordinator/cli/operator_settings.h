#pragma once

#include <string>

#include "common/settings/settings.h"

namespace rivulet {

// How an operator reaches the coordinator and wants to read it. From ~/.config/rivulet/config.toml
// (or --config, RIVULET_CONFIG), the environment and flags.
struct OperatorSettings {
  std::string coordinator = "127.0.0.1:7441";
  std::string tls_dir;  // default ~/.config/rivulet/pki
  bool insecure = false;
  std::string format = "text";  // text | json
  bool no_progress = false;

  OperatorSettings();
  Settings Keys();
  absl::Status Validate() const;  // exit 2
  bool json() const { return format == "json"; }
};

// --config, RIVULET_CONFIG, or the file in the user's folder when it is there; "" for none.
std::string OperatorConfigPath(int argc, const char* const* argv);

}  // namespace rivulet
