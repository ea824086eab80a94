#include <iostream>
#include <memory>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/ledger_output.h"
#include "coordinator/cli/operator_client.h"

namespace rivulet {
namespace {

absl::Status ShowLedger(const OperatorSettings& settings, const std::string& job) {
  RV_ASSIGN_OR_RETURN(OperatorClient client, OperatorClient::Connect(settings));
  RV_ASSIGN_OR_RETURN(const v1::LedgerReply reply, client.Ledger(job));
  RV_ASSIGN_OR_RETURN(const std::string text,
                      settings.json() ? LedgerJson(reply) : LedgerTable(reply));
  std::cout << text;
  return absl::OkStatus();
}

}  // namespace

void AddLedgerCommands(CLI::App& app, const OperatorSettings& settings, Command& chosen) {
  CLI::App* ledger = app.add_subcommand("ledger", "what was released under differential privacy");
  ledger->require_subcommand(1);
  CLI::App* show = ledger->add_subcommand("show", "every release and what it cost, oldest first");
  auto job = std::make_shared<std::string>();
  show->add_option("job", *job, "a job's id, a prefix of it, or @last; all jobs without");
  show->callback([&settings, &chosen, job] {
    chosen = [&settings, job] { return ShowLedger(settings, *job); };
  });
}

}  // namespace rivulet
