#include <iostream>

#include "common/io/size_limit.h"
#include "common/rpc/credentials.h"
#include "coordinator/cli/answer.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/dispatch.h"
#include "coordinator/cli/exit_codes.h"

namespace rivulet {
namespace {

absl::Status Help(const OperatorSettings& settings, const CLI::App& app, const std::string& topic) {
  if (topic == "exit-codes") {
    std::cout << (settings.json() ? ExitCodesJson() + "\n" : ExitCodesText());
    return absl::OkStatus();
  }
  if (!topic.empty()) {
    return WithExit(Refuse(absl::StatusCode::kInvalidArgument,
                           "help: got '" + topic + "', want exit-codes or nothing"),
                    ExitCode::kUsage);
  }
  Answer(settings, app.help(), "Help", {{"text", app.help()}});
  return absl::OkStatus();
}

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  using namespace rivulet;
  MakeSizeLimitAnError();
  ErrorFormat errors = ErrorFormatIn(argc, argv, "");
  const absl::Status ours =
      Dispatch(argc, argv, {"job", "node", "pki", "enroll", "help", "version"});
  if (!ours.ok()) return ExitWith("rivulet", ours, errors);
  RequireTls13();
  OperatorSettings settings;
  Settings keys = settings.Keys();
  const absl::Status loaded = keys.Load(OperatorConfigPath(argc, argv));
  errors = ErrorFormatIn(argc, argv, settings.format);
  if (!loaded.ok()) return ExitWith("rivulet", loaded, errors);
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
  help->callback([&] { chosen = [&] { return Help(settings, app, topic); }; });
  app.add_subcommand("version", "the version")->callback([&] {
    chosen = [&settings] {
      Answer(settings, "rivulet " RIVULET_VERSION, "Version", {{"version", RIVULET_VERSION}});
      return absl::OkStatus();
    };
  });
  app.footer(
      "Also: rivulet simulate | model | coordinator | client ARGS. See rivulet help "
      "exit-codes.");
  if (const auto code = ParseCommandLine(app, argc, argv, errors)) return *code;
  const absl::Status valid = settings.Validate();
  return ExitWith("rivulet", valid.ok() ? chosen() : valid, errors);
}
