#pragma once

#include <grpcpp/create_channel.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/rpc/chunk.h"
#include "coordinator/rpc/server.h"
#include "privacy/crypto/key.h"
#include "privacy/crypto/pki_directory.h"
#include "tests/bench/bench_job.h"

// A coordinator over mutual TLS and its agents, for the benchmarks of the wire.
namespace rivulet {

namespace fs = std::filesystem;

inline TlsFiles TlsOf(const fs::path& folder) {
  auto files = ReadCredentials(folder);
  Die(files.status());
  return {files->key_pem, files->chain_pem, files->roots_pem};
}

// Everything of the coordinator but its main.
class Daemon {
 public:
  Daemon(const fs::path& directory, const TlsFiles& tls, JobPlanner planner)
      : directory_(directory),
        states_(std::move(*OpenSqliteStateStore(directory))),
        blobs_(std::move(*OpenDirectoryBlobStore(directory))),
        federation_({std::move(planner)}, *states_, *blobs_, streams_, clock_),
        access_("bench", false),
        service_{federation_, *blobs_, streams_, access_, workers_, reports_, traffic_} {
    streams_.Attach(federation_);
    Die(federation_.Recover());
    auto server = CoordinatorServer::Start({{"127.0.0.1:0"}, tls}, service_);
    Die(server.status());
    server_ = *std::move(server);
  }
  ~Daemon() {
    server_.reset();
    // The federation may still delete what has served.
    for (std::error_code raced; fs::remove_all(directory_, raced), raced;) raced.clear();
  }
  Federation& federation() { return federation_; }
  int port() const { return server_->ports()[0]; }
  size_t connected() const { return streams_.size(); }

 private:
  const fs::path directory_;
  const SystemClock clock_;
  const std::unique_ptr<StateStore> states_;
  const std::unique_ptr<BlobStore> blobs_;
  AgentStreams streams_;
  Federation federation_;
  Access access_;
  WorkerPool workers_{4};
  ReportQueue reports_{federation_};
  Traffic traffic_;
  ServiceContext service_;
  std::unique_ptr<CoordinatorServer> server_;
};

// Channels of agents with a certificate each.
class Agents {
 public:
  Agents(const fs::path& pki, int count) {
    const IssuingAuthority authority = *ReadIssuingAuthority(pki / "issuing");
    for (int agent = 0; agent < count; ++agent) {
      const KeyPtr key = *NewSigningKey();
      const std::string chain =
          *IssueClient(authority, {"bench", "lab", Name(agent)}, *RequestPem(*key));
      credentials_.push_back(MutualTlsClient({*PrivatePem(*key), chain, authority.roots_pem}));
    }
  }
  static std::string Name(int agent) { return "agent-" + std::to_string(agent); }
  int count() const { return static_cast<int>(credentials_.size()); }
  std::unique_ptr<v1::Federation::Stub> Dial(int agent, int port) const {
    grpc::ChannelArguments limits = ChannelLimits();
    limits.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return v1::Federation::NewStub(grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port),
                                                             credentials_[agent], limits));
  }

 private:
  std::vector<std::shared_ptr<grpc::ChannelCredentials>> credentials_;
};

inline void ForEach(int count, const std::function<void(int)>& work) {
  std::vector<std::thread> threads;
  for (int number = 0; number < count; ++number) threads.emplace_back(work, number);
  for (std::thread& thread : threads) thread.join();
}

// Connects as many agents and has them report on the initial state, so that round 1 opens. Returns
// the job.
inline std::string OpenRound(Federation& federation, int agents) {
  auto job = federation.Submit({"bench", ""});
  Die(job.status());
  for (int agent = 0; agent < agents; ++agent) {
    ClientFacts facts;
    facts.name = Agents::Name(agent);
    federation.Connected(facts);
  }
  for (int agent = 0; agent < agents; ++agent) {
    Die(federation.ReportEvaluation(Agents::Name(agent), *job, 0, {}));
  }
  return *job;
}

inline void WaitForRound(Federation& federation, const std::string& job, uint64_t round) {
  while (federation.Show(job)->round != round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace rivulet
