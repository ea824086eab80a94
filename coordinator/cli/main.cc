#include <algorithm>
#include <iostream>

#include "common/io/size_limit.h"
#include "common/rpc/credentials.h"
#include "common/suggest.h"
#include "coordinator/cli/answer.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/dispatch.h"
#include "coordinator/cli/exit_codes.h"

namespace rivulet {
namespace {

constexpr char kExitCodes[] =
    "exit codes: 0 done, 1 failure, 2 usage, 3 configuration or job file, 4 connection or "
    "identity,\n10 memory or disk; job submit --watch and job watch also 5 job failed, 130 "
    "interrupted;\nall of them: rivulet help exit-codes";

std::vector<std::string> NamesOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(verb->get_name());
  }
  return names;
}

// `topic`: exit-codes, or the words of a verb, {"job", "submit"}; none is the whole program.
absl::Status Help(const OperatorSettings& settings, const CLI::App& app,
                  const std::vector<std::string>& topic) {
  if (topic == std::vector<std::string>{"exit-codes"}) {
    std::cout << (settings.json() ? ExitCodesJson() + "\n" : ExitCodesText());
    return absl::OkStatus();
  }
  const CLI::App* verb = &app;
  std::string name = app.get_name();
  for (const std::string& word : topic) {
    const std::vector<std::string> names = NamesOf(*verb);
    if (std::find(names.begin(), names.end(), word) == names.end()) {
      return WithExit(Refuse(absl::StatusCode::kInvalidArgument,
                             "help: got '" + word + "', want exit-codes or a command" +
                                 DidYouMean(word, names)),
                      ExitCode::kUsage);
    }
    verb = verb->get_subcommand(word);
    name += " " + word;
  }
  // Not verb->help(): of an app that was parsed it is the help of the verb that was given.
  const std::string text = verb->get_formatter()->make_help(verb, name, CLI::AppFormatMode::Normal);
  Answer(settings, text, "Help", {{"text", text}});
  return absl::OkStatus();
}

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  using namespace rivulet;
  MakeSizeLimitAnError();
  ErrorFormat errors = ErrorFormatIn(argc, argv, "");
  const absl::Status ours =
      Dispatch(argc, argv,
               {{"job", "node", "ledger", "config", "pki", "enroll", "help", "version"},
                {"--config", "--coordinator", "--tls-dir", "--format"}});
  if (!ours.ok()) return ExitWith("rivulet", ours, errors);
  RequireTls13();
  OperatorSettings settings;
  Settings keys = settings.Keys();
  const absl::Status loaded = keys.Load(OperatorConfigPath(argc, argv));
  errors = ErrorFormatIn(argc, argv, settings.format);
  if (!loaded.ok()) return ExitWith("rivulet", loaded, errors);
  CLI::App app("Federated fine-tuning");
  app.name("rivulet");
  app.fallthrough();  // these two before the subcommands: they inherit them
  app.footer(kExitCodes);
  app.set_version_flag("--version", std::string("rivulet ") + RIVULET_VERSION);
  app.require_subcommand(1);
  std::string config;
  app.add_option("--config", config, "config.toml of the operator");
  keys.Bind(app);
  Command chosen;
  AddJobCommands(app, settings, chosen);
  AddNodeCommands(app, settings, chosen);
  AddLedgerCommands(app, settings, chosen);
  AddConfigCommands(app, settings, chosen);
  AddPkiCommands(app, settings, chosen);
  std::vector<std::string> topic;
  CLI::App* help = app.add_subcommand("help", "help on exit-codes or a command");
  help->add_option("TOPIC", topic);
  help->callback([&] { chosen = [&] { return Help(settings, app, topic); }; });
  app.add_subcommand("version", "the version")->callback([&] {
    chosen = [&settings] {
      Answer(settings, "rivulet " RIVULET_VERSION, "Version", {{"version", RIVULET_VERSION}});
      return absl::OkStatus();
    };
  });
  app.footer("Also: rivulet simulate | model | coordinator | client ARGS.\n" +
             std::string(kExitCodes));
  if (const auto code = ParseCommandLine(app, argc, argv, errors)) return *code;
  const absl::Status valid = settings.Validate();
  return ExitWith("rivulet", valid.ok() ? chosen() : valid, errors);
}
