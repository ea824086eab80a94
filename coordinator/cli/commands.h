#pragma once

#include <functional>

#include "coordinator/cli/operator_settings.h"

namespace rivulet {

// A verb that was chosen on the command line, to be done once it is parsed.
using Command = std::function<absl::Status()>;

// A bad name, role or address on the command line is a usage error (exit 2), unless it says
// otherwise.
absl::Status WordsAsUsage(const absl::Status& status);

// Each adds its verbs under `app`; the chosen one sets `chosen`. `settings` must outlive the app
// and is read when the command runs.
void AddJobCommands(CLI::App& app, const OperatorSettings& settings, Command& chosen);
void AddNodeCommands(CLI::App& app, const OperatorSettings& settings, Command& chosen);
void AddLedgerCommands(CLI::App& app, const OperatorSettings& settings, Command& chosen);
void AddConfigCommands(CLI::App& app, const OperatorSettings& settings, Command& chosen);
void AddPkiCommands(CLI::App& app, const OperatorSettings& settings, Command& chosen);

}  // namespace rivulet
