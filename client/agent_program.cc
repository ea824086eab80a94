#include "client/agent_program.h"

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <iostream>
#include <thread>

#include "client/agent/agent.h"
#include "client/client_settings.h"
#include "client/rpc/grpc_link.h"
#include "common/rpc/credentials.h"
#include "common/settings/log.h"
#include "common/settings/stop_signals.h"
#include "privacy/crypto/pki_directory.h"

namespace rivulet {
namespace {

// Turns SIGTERM and SIGINT into calls of Terminate, from a thread of its own, until Stop.
class SignalWatch {
 public:
  void Start(Agent& agent) {
    thread_ = std::thread([this, &agent] { Watch(agent); });
  }
  ~SignalWatch() { Stop(); }
  void Stop() {
    if (!thread_.joinable()) return;
    pthread_kill(thread_.native_handle(), SIGUSR2);
    thread_.join();
  }
  int signal() const { return signal_; }  // the last one; 0 when none came

 private:
  void Watch(Agent& agent) {
    for (int signal = signals_.Wait(); signal != SIGUSR2; signal = signals_.Wait()) {
      signal_ = signal;
      spdlog::info("stopping: work in hand is finished first; ask again to stop at once");
      agent.Terminate();
    }
  }
  const StopSignals signals_{SIGUSR2};  // our own, to end the thread
  std::atomic<int> signal_{0};
  std::thread thread_;
};

absl::StatusOr<Identity> IdentityFor(const ClientSettings& settings) {
  if (settings.daemon.insecure) return ParseIdentityUri("rivulet://" + settings.name);
  RV_ASSIGN_OR_RETURN(const Credentials files, ReadValidCredentials(settings.daemon.tls_dir, true));
  absl::StatusOr<Identity> identity = IdentityOfLeaf(files.chain_pem);
  if (!identity.ok()) return Annotate(identity.status(), settings.daemon.tls_dir + "/cert.pem");
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

void WarnOfWeaknesses(const Policy& policy) {
  for (const std::string& weakness : policy.MaskingWeaknesses()) spdlog::warn("{}", weakness);
}

absl::Status Run(const ClientSettings& settings, const WorkFactory& make_work,
                 const LinkWrapper& wrap, const RoundingMaker& masked_rounding) {
  RV_RETURN_IF_ERROR(settings.Validate());
  RV_RETURN_IF_ERROR(StartLog("client", settings.daemon.log_level, settings.daemon.log_format));
  RV_ASSIGN_OR_RETURN(const Identity identity, IdentityFor(settings));
  RV_ASSIGN_OR_RETURN(const Policy policy, LoadPolicy(settings.policy));
  RV_ASSIGN_OR_RETURN(const auto store, AgentStore::Open(settings.daemon.state_dir));
  settings.daemon.insecure ? WarnInsecure("rivulet-client") : WarnOfWeaknesses(policy);
  std::unique_ptr<MaskingDesk> desk;  // without certificates there are no signatures
  if (!settings.daemon.insecure) {
    RV_ASSIGN_OR_RETURN(desk, MaskingDesk::Open(policy, settings.daemon.tls_dir,
                                                settings.daemon.state_dir, masked_rounding));
  }
  std::optional<ReleaseBook> releases;
  if (policy.max_releases_in_all > 0) {
    releases.emplace(settings.daemon.state_dir, policy.max_releases_in_all);
  }
  auto link = NewGrpcLink({settings.coordinator, settings.daemon.tls_dir,
                           settings.daemon.insecure ? identity.uri() : std::string()});
  if (wrap) link = wrap(std::move(link));
  const auto work = make_work(policy, identity.name, settings.daemon.state_dir);
  SessionConfig config;
  config.drain_limit = std::chrono::seconds(settings.drain_timeout_s);
  SignalWatch signals;
  Agent agent(FactsOf(policy), config, *store, *link, *work, desk.get(),
              releases ? &*releases : nullptr);
  signals.Start(agent);
  spdlog::info("agent {} of {} serves {}", identity.name, identity.organisation,
               settings.coordinator);
  const absl::Status ended = agent.Run();
  signals.Stop();  // before the agent dies, which it calls
  spdlog::info("agent {} stopped", identity.name);
  return ended.ok() ? EndOf(signals.signal()) : ended;
}

}  // namespace

int AgentMain(int argc, char** argv, const WorkFactory& make_work, const LinkWrapper& wrap,
              const RoundingMaker& masked_rounding) {
  RequireTls13();
  ClientSettings settings;
  const DaemonProgram program = {
      .name = "rivulet-client",
      .about = "The agent that tunes beside the data",
      .verb = "run",
      .verb_help = "serve a coordinator until SIGTERM",
      .config_file = "client.toml",
      .exit_codes =
          "exit codes: 0 stopped, 1 failure, 2 usage, 3 configuration, 4 connection or identity,\n"
          "8 state directory, 9 refused by policy, 10 memory or disk, 130 interrupted;\n"
          "all of them: rivulet help exit-codes"};
  return RunDaemon(program, settings.Keys(), argc, argv,
                   [&] { return Run(settings, make_work, wrap, masked_rounding); });
}

}  // namespace rivulet
