#include <iostream>

#include "common/rpc/credentials.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/dispatch.h"
#include "coordinator/cli/exit_codes.h"

int main(int argc, char** argv) {
  using namespace rivulet;
  if (const auto code = Dispatch(argc, argv, {"job", "node", "pki", "enroll", "help", "version"})) {
    return *code;
  }
  RequireTls13();
  OperatorSettings settings;
  Settings keys = settings.Keys();
  if (const absl::Status loaded = keys.Load(OperatorConfigPath(argc, argv)); !loaded.ok()) {
    return ExitWith("rivulet", loaded);
  }
  CLI::App app("Federated fine-tuning");
  app.name("rivulet");
  app.fallthrough();  // before the subcommands: they inherit it
  app.set_version_flag("--version", std::string("rivulet ") + RIVULET_VERSION);
  app.require_subcommand(1);
  std::string config;
  app.add_option("--config", config, "config.toml of the operator");
  keys.Bind(app);
  Command chosen;
  AddJobCommands(app, settings, chosen);
  AddNodeCommands(app, settings, chosen);
  AddPkiCommands(app, settings, chosen);
  std::string topic;
  CLI::App* help = app.add_subcommand("help", "help on a topic: exit-codes");
  help->add_option("TOPIC", topic);
  help->callback([&] {
    chosen = [&] {
      std::cout << (topic == "exit-codes" ? ExitCodesText() : app.help());
      return absl::OkStatus();
    };
  });
  app.add_subcommand("version", "the version")->callback([&] {
    chosen = [] {
      std::cout << "rivulet " RIVULET_VERSION "\n";
      return absl::OkStatus();
    };
  });
  app.footer(
      "Also: rivulet simulate | model | coordinator | client ARGS. See rivulet help "
      "exit-codes.");
  if (const auto code = ParseCommandLine(app, argc, argv)) return *code;
  if (const absl::Status valid = settings.Validate(); !valid.ok())
    return ExitWith("rivulet", valid);
  return ExitWith("rivulet", chosen());
}
