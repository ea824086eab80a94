#include "coordinator/serve.h"

#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <iostream>

#include "common/io/file.h"
#include "common/settings/log.h"
#include "coordinator/ops/ops_metrics.h"
#include "coordinator/ops/ops_server.h"
#include "coordinator/rpc/server.h"
#include "privacy/crypto/certificate.h"
#include "privacy/crypto/pki_directory.h"

namespace rivulet {
namespace {

constexpr std::chrono::milliseconds kTick{100};
constexpr std::chrono::milliseconds kReconnectAfter{2000};
constexpr std::chrono::milliseconds kStopPatience{2000};
constexpr std::chrono::seconds kLively{5};
constexpr size_t kTransferThreads = 4;

struct Stores {
  std::unique_ptr<StateStore> states;
  std::unique_ptr<BlobStore> blobs;
};

absl::StatusOr<Stores> OpenStores(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return WithExit(FileError(directory, "create", error.value()), ExitCode::kState);
  if (chmod(directory.c_str(), 0700) != 0) {
    return WithExit(FileError(directory, "chmod", errno), ExitCode::kState);
  }
  Stores stores;
  RV_ASSIGN_OR_RETURN(stores.states, OpenSqliteStateStore(directory));  // holds the lock
  RV_ASSIGN_OR_RETURN(stores.blobs, OpenDirectoryBlobStore(directory));
  return stores;
}

struct Tls {
  std::optional<TlsFiles> files;
  std::string federation = "insecure";
};

absl::StatusOr<Tls> ReadTls(const CoordinatorSettings& settings) {
  Tls tls;
  if (settings.insecure) {
    WarnInsecure("rivulet-coordinator");
    return tls;
  }
  RV_ASSIGN_OR_RETURN(Credentials files, ReadCredentials(settings.tls_dir));
  RV_RETURN_IF_ERROR(Annotate(VerifyChain(files.chain_pem, files.roots_pem, false),
                              settings.tls_dir + "/cert.pem"));
  RV_ASSIGN_OR_RETURN(tls.federation, FederationOfChain(files.chain_pem));
  tls.files =
      TlsFiles{std::move(files.key_pem), std::move(files.chain_pem), std::move(files.roots_pem)};
  return tls;
}

std::vector<std::string> Addresses(const CoordinatorSettings& settings) {
  std::vector<std::string> listen = {settings.listen_agents};
  if (!settings.listen_operators.empty() && settings.listen_operators != settings.listen_agents) {
    listen.push_back(settings.listen_operators);
  }
  return listen;
}

std::string WithPort(const std::string& address, int port) {
  return address.substr(0, address.rfind(':') + 1) + std::to_string(port);
}

// SIGTERM and SIGINT, taken by sigtimedwait in the main loop. Other threads have them blocked.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

using Beat = std::atomic<std::chrono::steady_clock::time_point>;

// Ticks until a signal comes, and returns it.
int TickUntilSignal(Federation& federation, const sigset_t& signals, Beat& beat) {
  const timespec pause{0, std::chrono::nanoseconds(kTick).count()};
  while (true) {
    if (const int signal = sigtimedwait(&signals, nullptr, &pause); signal > 0) return signal;
    federation.Tick();
    beat = std::chrono::steady_clock::now();
  }
}

OpsQuestions QuestionsOf(ServiceContext& service, const Clock& clock, const Beat& beat) {
  OpsQuestions questions;
  questions.alive = [&beat] { return std::chrono::steady_clock::now() - beat.load() < kLively; };
  questions.ready = [&service]() -> std::vector<std::pair<std::string, bool>> {
    return {{"not draining", !service.streams.draining()},
            {"disk", service.blobs.FreeBytes() > FederationConfig().low_water_bytes}};
  };
  questions.metrics = [&service, &clock] { return MetricsPage(service, clock); };
  return questions;
}

void Announce(const CoordinatorSettings& settings, const CoordinatorServer& server,
              const OpsServer* ops) {
  const std::string agents = WithPort(settings.listen_agents, server.ports().front());
  const std::string operators = server.ports().size() == 1
                                    ? agents
                                    : WithPort(settings.listen_operators, server.ports().back());
  std::cout << "listening: agents " << agents << ", operators " << operators;
  if (ops != nullptr) std::cout << ", ops " << WithPort(settings.listen_ops, ops->port());
  std::cout << std::endl;
}

}  // namespace

absl::Status Serve(const CoordinatorSettings& settings) {
  RV_RETURN_IF_ERROR(settings.Validate());
  RV_RETURN_IF_ERROR(StartLog("coordinator", settings.log_level, settings.log_format));
  const sigset_t signals = BlockSignals();
  RV_ASSIGN_OR_RETURN(const Tls tls, ReadTls(settings));
  RV_ASSIGN_OR_RETURN(const Stores stores, OpenStores(settings.state_dir));
  const SystemClock clock;
  AgentStreams streams;
  FederationConfig config;
  config.return_grace = std::chrono::seconds(settings.return_grace_s);
  Federation federation(config, *stores.states, *stores.blobs, streams, clock);
  streams.Attach(federation);
  RV_RETURN_IF_ERROR(federation.Recover());
  Access access(tls.federation, settings.insecure);
  WorkerPool workers(kTransferThreads);
  Traffic traffic;
  ServiceContext service{federation, *stores.blobs, streams, access, workers, traffic};
  RV_ASSIGN_OR_RETURN(const auto server,
                      CoordinatorServer::Start({Addresses(settings), tls.files}, service));
  Beat beat(std::chrono::steady_clock::now());
  std::unique_ptr<OpsServer> ops;
  if (!settings.listen_ops.empty()) {
    RV_ASSIGN_OR_RETURN(ops,
                        OpsServer::Start(settings.listen_ops, QuestionsOf(service, clock, beat)));
  }
  Announce(settings, *server, ops.get());
  spdlog::info("federation {}: serving, epoch {}", tls.federation, federation.epoch());
  const int signal = TickUntilSignal(federation, signals, beat);
  spdlog::info("stopping; open rounds go on at the next start");
  streams.Drain(kReconnectAfter);
  server->Stop(kStopPatience);
  spdlog::info("stopped");
  if (signal == SIGINT)
    return WithExit(absl::CancelledError("interrupted"), ExitCode::kInterrupted);
  return absl::OkStatus();
}

}  // namespace rivulet
