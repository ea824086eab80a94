#include "common/settings/daemon.h"

#include "common/io/size_limit.h"

namespace rivulet {

void DaemonSettings::AddTo(Settings& keys) {
  keys.Add("tls.dir", &tls_dir, "folder with key.pem, cert.pem and ca.pem");
  keys.Add("state.dir", &state_dir, "folder of what must survive; one process at a time");
  keys.Add("log.level", &log_level, "error, warn, info, debug or trace");
  keys.Add("log.format", &log_format, "text, json, or auto: text on a terminal, else json");
  keys.Add("insecure", &insecure, "no TLS: for trials on this machine alone");
}

int RunDaemon(const DaemonProgram& program, Settings keys, int argc, char** argv,
              const std::function<absl::Status()>& run) {
  MakeSizeLimitAnError();
  if (const absl::Status loaded = keys.Load(ConfigPathIn(argc, argv)); !loaded.ok()) {
    return ExitWith(program.name, loaded);
  }
  CLI::App app(program.about);
  app.name(program.name);
  app.set_version_flag("--version", program.name + " " + RIVULET_VERSION);
  app.require_subcommand(1);
  CLI::App* verb = app.add_subcommand(program.verb, program.verb_help);
  std::string config;
  verb->add_option("--config", config, program.config_file);
  keys.Bind(*verb);
  verb->footer(program.exit_codes);
  if (const auto code = ParseCommandLine(app, argc, argv)) return *code;
  return ExitWith(program.name, run());
}

}  // namespace rivulet
