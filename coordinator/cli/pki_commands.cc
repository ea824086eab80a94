#include <iostream>
#include <memory>

#include "common/io/file.h"
#include "common/settings/log.h"
#include "common/settings/stop_signals.h"
#include "coordinator/cli/answer.h"
#include "coordinator/cli/commands.h"
#include "coordinator/enrolment/enrol_client.h"
#include "coordinator/enrolment/enrol_server.h"

namespace rivulet {
namespace {

struct InitOptions {
  PkiPlan plan;
  std::string directory = "pki";
};

absl::Status Init(const OperatorSettings& settings, const InitOptions& options) {
  RV_ASSIGN_OR_RETURN(const std::string fingerprint, InitPki(options.plan, options.directory));
  Answer(settings, fingerprint, "Pki",
         {{"federation", options.plan.federation},
          {"folder", options.directory},
          {"root_fingerprint", fingerprint}});
  std::cerr << "root fingerprint above. Take " << options.directory
            << "/root off this machine; it is needed again only for a new issuing authority.\n";
  return absl::OkStatus();
}

struct RequestOptions {
  CertificateOrder order{.directory = "pki"};
  std::string token_file;
};

absl::Status Request(const OperatorSettings& settings, const RequestOptions& options) {
  absl::StatusOr<std::string> text = ReadFile(options.token_file, 4096);
  if (!text.ok()) return WithExit(text.status(), ExitCode::kConfig);
  RV_ASSIGN_OR_RETURN(const TokenText token, ParseTokenText(*text));
  const CertificateOrder& order = options.order;
  RV_RETURN_IF_ERROR(RequestCertificate(order, token));
  const std::string folder = order.directory.string();
  Answer(settings, order.name + ": key and certificate are in " + folder, "Certificate",
         {{"name", order.name}, {"folder", folder}});
  return absl::OkStatus();
}

struct ServeOptions {
  std::string listen = "0.0.0.0:7442";
  std::string pki = "pki";
  std::string store = "enrolment";
};

absl::Status Serve(const OperatorSettings& settings, const ServeOptions& options) {
  const StopSignals signals;
  RV_RETURN_IF_ERROR(StartLog("enrolment", "info", "auto"));
  const std::filesystem::path pki = options.pki;
  RV_ASSIGN_OR_RETURN(IssuingAuthority issuing, ReadIssuingAuthority(pki / "issuing"));
  RV_ASSIGN_OR_RETURN(const Credentials tls, ReadCredentials(pki / "enrolment"));
  RV_ASSIGN_OR_RETURN(TokenStore tokens, TokenStore::Open(options.store));
  EnrolmentAuthority authority(std::move(issuing), std::move(tokens));
  RV_ASSIGN_OR_RETURN(const auto server, EnrolServer::Start(options.listen, tls, authority));
  const std::string address =
      options.listen.substr(0, options.listen.rfind(':') + 1) + std::to_string(server->port());
  Answer(settings, "listening: " + address, "Listening", {{"address", address}});
  return EndOf(signals.Wait());
}

void AddInit(CLI::App& pki, const OperatorSettings& settings, Command& chosen) {
  CLI::App* verb = pki.add_subcommand("init", "new authorities and server certificates");
  auto options = std::make_shared<InitOptions>();
  verb->add_option("--federation", options->plan.federation, "its name")->required();
  verb->add_option("--dir", options->directory, "an empty or new folder")->capture_default_str();
  verb->add_option("--host", options->plan.hosts,
                   "names and addresses of the coordinator; default: this machine alone")
      ->allow_extra_args(false);
  verb->callback([&settings, &chosen, options] {
    chosen = [&settings, options] { return WordsAsUsage(Init(settings, *options)); };
  });
}

void AddRequest(CLI::App& pki, const OperatorSettings& settings, Command& chosen) {
  CLI::App* verb =
      pki.add_subcommand("request", "key made here, certificate from the enrolment process");
  auto options = std::make_shared<RequestOptions>();
  verb->add_option("--enroll", options->order.address, "host:port of `rivulet enroll serve`")
      ->required();
  verb->add_option("--token-file", options->token_file, "file with the one-time token")->required();
  verb->add_option("--dir", options->order.directory, "where the files go")->capture_default_str();
  verb->add_option("--name", options->order.name, "of this node")->required();
  verb->add_flag("--renew", options->order.renew, "replace the identity that is there");
  verb->callback([&settings, &chosen, options] {
    chosen = [&settings, options] { return WordsAsUsage(Request(settings, *options)); };
  });
}

}  // namespace

absl::Status WordsAsUsage(const absl::Status& status) {
  return status.code() == absl::StatusCode::kInvalidArgument
             ? WithDefaultExit(status, ExitCode::kUsage)
             : status;
}

void AddPkiCommands(CLI::App& app, const OperatorSettings& settings, Command& chosen) {
  CLI::App* pki = app.add_subcommand("pki", "authorities and certificates");
  pki->require_subcommand(1);
  AddInit(*pki, settings, chosen);
  AddRequest(*pki, settings, chosen);
  CLI::App* enroll = app.add_subcommand("enroll", "the enrolment process");
  enroll->require_subcommand(1);
  CLI::App* serve = enroll->add_subcommand("serve", "give certificates for one-time tokens");
  auto options = std::make_shared<ServeOptions>();
  serve->add_option("--listen", options->listen, "host:port; port 0 takes a free one")
      ->capture_default_str();
  serve->add_option("--pki", options->pki, "folder of `rivulet pki init`")->capture_default_str();
  serve->add_option("--store", options->store, "folder of tokens, shared with `node enroll`")
      ->capture_default_str();
  serve->callback([&settings, &chosen, options] {
    chosen = [&settings, options] { return Serve(settings, *options); };
  });
}

}  // namespace rivulet
