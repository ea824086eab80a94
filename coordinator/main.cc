#include "common/rpc/credentials.h"
#include "coordinator/serve.h"

int main(int argc, char** argv) {
  using namespace rivulet;
  RequireTls13();
  CoordinatorSettings settings;
  const DaemonProgram program = {
      .name = "rivulet-coordinator",
      .about = "The coordinator of a federation",
      .verb = "serve",
      .verb_help = "run the daemon until SIGTERM",
      .config_file = "coordinator.toml",
      .exit_codes =
          "Exit codes: 0 stopped, 2 usage, 3 configuration, 4 address or certificate,\n"
          "8 state directory, 130 interrupted."};
  return RunDaemon(program, settings.Keys(), argc, argv, [&] { return Serve(settings); });
}
