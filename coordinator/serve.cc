#include "coordinator/serve.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <iostream>

#include "common/io/file.h"
#include "common/settings/log.h"
#include "common/settings/stop_signals.h"
#include "coordinator/ops/ops_metrics.h"
#include "coordinator/ops/ops_server.h"
#include "coordinator/ops/round_metrics.h"
#include "coordinator/rpc/revoked_file.h"
#include "coordinator/rpc/server.h"
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
  if (settings.daemon.insecure) {
    WarnInsecure("rivulet-coordinator");
    return tls;
  }
  RV_ASSIGN_OR_RETURN(Credentials files, ReadValidCredentials(settings.daemon.tls_dir, false));
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

using Beat = std::atomic<std::chrono::steady_clock::time_point>;

// Ticks until a signal comes, and returns it.
int TickUntilSignal(Federation& federation, RevokedFile& revoked, const StopSignals& signals,
                    Beat& beat) {
  while (true) {
    if (const int signal = signals.WaitFor(kTick); signal != 0) return signal;
    federation.Tick();
    if (const absl::Status read = revoked.Refresh(); !read.ok()) {
      spdlog::error("{}; the list of before stays in force", std::string(read.message()));
    }
    beat = std::chrono::steady_clock::now();
  }
}

// What the ops endpoints speak of; all must outlive them.
struct Observed {
  ServiceContext& service;
  StateStore& states;
  RoundMetrics& rounds;
  const Clock& clock;
  const Beat& beat;
  uint64_t low_water_bytes;
};

OpsQuestions QuestionsOf(const Observed& observed) {
  OpsQuestions questions;
  questions.alive = [&beat = observed.beat] {
    return std::chrono::steady_clock::now() - beat.load() < kLively;
  };
  questions.ready = [observed]() -> std::vector<std::pair<std::string, bool>> {
    // An empty commit goes all the way through the store's writer.
    return {{"not draining", !observed.service.streams.draining()},
            {"store", observed.states.Commit({}).ok()},
            {"disk", observed.service.blobs.FreeBytes() > observed.low_water_bytes}};
  };
  questions.metrics = [observed] {
    return MetricsPage(observed.service, observed.clock, observed.rounds);
  };
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
  RV_RETURN_IF_ERROR(
      StartLog("coordinator", settings.daemon.log_level, settings.daemon.log_format));
  const StopSignals signals;
  RV_ASSIGN_OR_RETURN(const Tls tls, ReadTls(settings));
  RV_ASSIGN_OR_RETURN(const Stores stores, OpenStores(settings.daemon.state_dir));
  const SystemClock clock;
  AgentStreams streams;
  FederationConfig config;
  config.return_grace = std::chrono::seconds(settings.return_grace_s);
  config.low_water_bytes = static_cast<uint64_t>(settings.low_water_mib) << 20;
  Federation federation(config, *stores.states, *stores.blobs, streams, clock);
  streams.Attach(federation);
  RV_RETURN_IF_ERROR(federation.Recover());
  Access access(tls.federation, settings.daemon.insecure);
  RevokedFile revoked(std::filesystem::path(settings.daemon.state_dir) / "revoked", access);
  RV_RETURN_IF_ERROR(revoked.Refresh());
  WorkerPool workers(kTransferThreads);
  ReportQueue reports(federation);
  Traffic traffic;
  ServiceContext service{federation, *stores.blobs, streams, access, workers, reports, traffic};
  RV_ASSIGN_OR_RETURN(const auto server,
                      CoordinatorServer::Start({Addresses(settings), tls.files}, service));
  RoundMetrics rounds(federation);
  Beat beat(std::chrono::steady_clock::now());
  std::unique_ptr<OpsServer> ops;
  if (!settings.listen_ops.empty()) {
    const Observed observed{service, *stores.states, rounds, clock, beat, config.low_water_bytes};
    RV_ASSIGN_OR_RETURN(ops, OpsServer::Start(settings.listen_ops, QuestionsOf(observed)));
  }
  Announce(settings, *server, ops.get());
  spdlog::info("federation {}: serving, epoch {}", tls.federation, federation.epoch());
  const int signal = TickUntilSignal(federation, revoked, signals, beat);
  spdlog::info("stopping; open rounds go on at the next start");
  streams.Drain(kReconnectAfter);
  server->Stop(kStopPatience);
  spdlog::info("stopped");
  return EndOf(signal);
}

}  // namespace rivulet
