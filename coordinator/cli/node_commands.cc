#include <ctime>
#include <iostream>
#include <memory>

#include "common/io/file.h"
#include "common/job/job_keys.h"
#include "coordinator/cli/answer.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/job_output.h"
#include "coordinator/cli/operator_client.h"
#include "coordinator/enrolment/enrol_client.h"
#include "coordinator/enrolment/token_store.h"
#include "privacy/crypto/certificate.h"

namespace rivulet {
namespace {

struct EnrollOptions {
  std::string store = "enrolment";
  std::string pki = "pki";
  std::string organisation;
  std::string role = "agent";
  std::string ttl = "24h";
};

absl::Status ListNodes(const OperatorSettings& settings) {
  RV_ASSIGN_OR_RETURN(OperatorClient client, OperatorClient::Connect(settings));
  RV_ASSIGN_OR_RETURN(const v1::NodesReply nodes, client.Nodes());
  std::cout << (settings.json() ? NodeListJson(nodes) + "\n" : NodeTable(nodes));
  return absl::OkStatus();
}

absl::Status Enroll(const OperatorSettings& settings, const EnrollOptions& options) {
  RV_ASSIGN_OR_RETURN(const Role role, RoleOf(options.role));
  RV_ASSIGN_OR_RETURN(const std::chrono::seconds ttl, ParseDuration(options.ttl));
  RV_ASSIGN_OR_RETURN(
      const std::string root,
      ReadFile(std::filesystem::path(options.pki) / "issuing" / "ca.pem", 64 << 10));
  RV_ASSIGN_OR_RETURN(const X509Ptr certificate, ReadCertificate(root));
  RV_ASSIGN_OR_RETURN(TokenStore store, TokenStore::Open(options.store));
  RV_ASSIGN_OR_RETURN(const std::string secret,
                      store.Create(options.organisation, role, ttl, std::time(nullptr)));
  const std::string token = TextOf(TokenText{secret, FingerprintOf(*certificate)});
  Answer(settings, token, "EnrolmentToken",
         {{"token", token},
          {"organisation", options.organisation},
          {"role", options.role},
          {"valid_for", options.ttl}});
  std::cerr << "one-time token for " << options.organisation << ", role " << options.role
            << ", valid for " << options.ttl << "; it is shown only now\n";
  return absl::OkStatus();
}

}  // namespace

void AddNodeCommands(CLI::App& app, const OperatorSettings& settings, Command& chosen) {
  CLI::App* node = app.add_subcommand("node", "list agents, enrol new ones");
  node->require_subcommand(1);
  CLI::App* list =
      node->add_subcommand("list", "every agent that connected since the coordinator started")
          ->alias("ls");
  list->callback([&settings, &chosen] { chosen = [&settings] { return ListNodes(settings); }; });
  CLI::App* enroll = node->add_subcommand("enroll", "make a one-time token; printed once");
  auto options = std::make_shared<EnrollOptions>();
  enroll->add_option("--org", options->organisation, "organisation of the new node")->required();
  enroll->add_option("--role", options->role, "agent, operator or admin")->capture_default_str();
  enroll->add_option("--ttl", options->ttl, "how long it can be used: 90s, 15m, 24h, 7d")
      ->capture_default_str();
  enroll->add_option("--store", options->store, "folder shared with `rivulet enroll serve`")
      ->capture_default_str();
  enroll->add_option("--pki", options->pki, "folder of `rivulet pki init`")->capture_default_str();
  enroll->callback([&settings, &chosen, options] {
    chosen = [&settings, options] { return WordsAsUsage(Enroll(settings, *options)); };
  });
}

}  // namespace rivulet
