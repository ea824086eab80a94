#include "client/agent_program.h"

#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <iostream>
#include <thread>

#include "client/agent/agent.h"
#include "client/client_settings.h"
#include "client/rpc/grpc_link.h"
#include "common/rpc/credentials.h"
#include "common/settings/log.h"
#include "privacy/crypto/certificate.h"
#include "privacy/crypto/pki_directory.h"

namespace rivulet {
namespace {

// Turns SIGTERM and SIGINT into calls of Terminate, from a thread of its own.
class SignalWatch {
 public:
  // Blocks the signals: call before any other thread starts.
  SignalWatch() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGUSR2);  // our own, to end the thread
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }
  void Start(Agent& agent) {
    thread_ = std::thread([this, &agent] { Watch(agent); });
  }
  ~SignalWatch() {
    if (!thread_.joinable()) return;
    pthread_kill(thread_.native_handle(), SIGUSR2);
    thread_.join();
  }
  bool interrupted() const { return interrupted_; }

 private:
  void Watch(Agent& agent) {
    int signal = 0;
    while (sigwait(&signals_, &signal) == 0 && signal != SIGUSR2) {
      if (signal == SIGINT) interrupted_ = true;
      spdlog::info("stopping: work in hand is finished first; ask again to stop at once");
      agent.Terminate();
    }
  }
  sigset_t signals_;
  std::thread thread_;
  std::atomic<bool> interrupted_{false};
};

absl::StatusOr<Identity> IdentityFor(const ClientSettings& settings) {
  if (settings.insecure) return ParseIdentityUri("rivulet://" + settings.name);
  RV_ASSIGN_OR_RETURN(const Credentials files, ReadCredentials(settings.tls_dir));
  const std::string file = settings.tls_dir + "/cert.pem";
  RV_RETURN_IF_ERROR(Annotate(VerifyChain(files.chain_pem, files.roots_pem, true), file));
  absl::StatusOr<Identity> identity = IdentityOfLeaf(files.chain_pem);
  if (!identity.ok()) return Annotate(identity.status(), file);
  return identity;
}

AgentFacts FactsOf(const Policy& policy) {
  AgentFacts facts;
  facts.datasets = policy.DatasetNames();
  facts.base_models = policy.BaseModelHashes();
  facts.memory_bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                       static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
  facts.cores = std::thread::hardware_concurrency();
  return facts;
}

absl::Status Run(const ClientSettings& settings, const WorkFactory& make_work) {
  RV_RETURN_IF_ERROR(settings.Validate());
  RV_RETURN_IF_ERROR(StartLog("client", settings.log_level, settings.log_format));
  RV_ASSIGN_OR_RETURN(const Identity identity, IdentityFor(settings));
  RV_ASSIGN_OR_RETURN(const Policy policy, LoadPolicy(settings.policy));
  RV_ASSIGN_OR_RETURN(const auto store, AgentStore::Open(settings.state_dir));
  if (settings.insecure) WarnInsecure("rivulet-client");
  const auto link = NewGrpcLink(
      {settings.coordinator, settings.tls_dir, settings.insecure ? identity.uri() : std::string()});
  const auto work = make_work(policy, identity.name);
  SessionConfig config;
  config.drain_limit = std::chrono::seconds(settings.drain_timeout_s);
  SignalWatch signals;
  Agent agent(FactsOf(policy), config, *store, *link, *work);
  signals.Start(agent);
  spdlog::info("agent {} of {} serves {}", identity.name, identity.organisation,
               settings.coordinator);
  const absl::Status ended = agent.Run();
  spdlog::info("agent {} stopped", identity.name);
  if (ended.ok() && signals.interrupted()) {
    return WithExit(absl::CancelledError("interrupted"), ExitCode::kInterrupted);
  }
  return ended;
}

}  // namespace

int AgentMain(int argc, char** argv, const WorkFactory& make_work) {
  RequireTls13();
  ClientSettings settings;
  Settings keys = settings.Keys();
  if (const absl::Status loaded = keys.Load(ConfigPathIn(argc, argv)); !loaded.ok()) {
    return ExitWith("rivulet-client", loaded);
  }
  CLI::App app("The agent that tunes beside the data");
  app.name("rivulet-client");
  app.set_version_flag("--version", std::string("rivulet-client ") + RIVULET_VERSION);
  app.require_subcommand(1);
  CLI::App* run = app.add_subcommand("run", "serve a coordinator until SIGTERM");
  std::string config;
  run->add_option("--config", config, "client.toml");
  keys.Bind(*run);
  run->footer(
      "Exit codes: 0 stopped, 2 usage, 3 configuration, 4 connection or identity,\n"
      "8 state directory, 9 refused by policy, 130 interrupted.");
  if (const auto code = ParseCommandLine(app, argc, argv)) return *code;
  return ExitWith("rivulet-client", Run(settings, make_work));
}

}  // namespace rivulet
