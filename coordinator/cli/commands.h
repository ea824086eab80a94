#pragma once

#include <functional>

#include "coordinator/cli/operator_settings.h"

namespace rivulet {

// A verb that was chosen on the command line, to be done once it is parsed.
using Command = std::function<absl::Status()>;

// Each adds its verbs under `app`; the chosen one sets `chosen`. `settings` must outlive the app
// and is read when the command runs.
void AddJobCommands(CLI::App& app, const OperatorSettings& settings, Command& chosen);
void AddNodeCommands(CLI::App& app, const OperatorSettings& settings, Command& chosen);
void AddPkiCommands(CLI::App& app, const OperatorSettings& settings, Command& chosen);

}  // namespace rivulet
