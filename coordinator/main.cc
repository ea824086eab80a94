#include <iostream>

#include "common/rpc/credentials.h"
#include "coordinator/serve.h"

int main(int argc, char** argv) {
  using namespace rivulet;
  RequireTls13();
  CoordinatorSettings settings;
  Settings keys = settings.Keys();
  if (const absl::Status loaded = keys.Load(ConfigPathIn(argc, argv)); !loaded.ok()) {
    return ExitWith("rivulet-coordinator", loaded);
  }
  CLI::App app("The coordinator of a federation");
  app.name("rivulet-coordinator");
  app.set_version_flag("--version", std::string("rivulet-coordinator ") + RIVULET_VERSION);
  app.require_subcommand(1);
  CLI::App* serve = app.add_subcommand("serve", "run the daemon until SIGTERM");
  std::string config;
  serve->add_option("--config", config, "coordinator.toml");
  keys.Bind(*serve);
  serve->footer(
      "Exit codes: 0 stopped, 2 usage, 3 configuration, 4 address or certificate, 8 state "
      "directory,\n130 interrupted.");
  if (const auto code = ParseCommandLine(app, argc, argv)) return *code;
  return ExitWith("rivulet-coordinator", Serve(settings));
}
