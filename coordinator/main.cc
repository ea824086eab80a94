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
          "exit codes: 0 stopped, 1 failure, 2 usage, 3 configuration, 4 address or certificate,\n"
          "8 state directory, 10 memory or disk, 130 interrupted;\n"
          "all of them: rivulet help exit-codes"};
  return RunDaemon(program, settings.Keys(), argc, argv, [&] { return Serve(settings); });
}
