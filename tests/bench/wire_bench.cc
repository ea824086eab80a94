// What the coordinator makes of its messages beside a bare gRPC server that does nothing with them,
// in one run: the same client code, messages, certificates and limits. Prints JSON lines. Not a
// test.
//   wire_bench [directory=/tmp/rivulet-wire-bench] [state MiB=64] [uploads=8] [agents=32]
//   [reports=200] [repeats=5]
//
// ingest    uploads until the next model is published (received, hashed, checked, synced, summed),
// two at a time,
//           against a server that throws the bytes away; and again with four times the uploads of a
//           state of a quarter: the same bytes, but a quarter of what is done once a round
// store_only what that same server reaches once it hashes, writes and syncs the bytes, without
// checks, rounds or sums
// durable   evaluation reports, each acknowledged when its row is on disk, against a server that
// acknowledges at once
#include <grpcpp/server_builder.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>

#include "client/rpc/transfers.h"
#include "common/formats/safetensors_writer.h"
#include "common/io/sha256.h"
#include "common/rpc/chunk.h"
#include "common/rpc/hash_bytes.h"
#include "tests/bench/wire_daemon.h"

namespace rivulet {
namespace {

// Processor seconds of this process so far: what other processes of the machine do not stretch.
double CpuNow() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return time.tv_sec + time.tv_usec * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Of one measurement.
struct Cost {
  double wall = 0;  // seconds
  double cpu = 0;   // seconds, over all threads
};

class Stopwatch {
 public:
  Cost Read() const { return {Now() - wall_, CpuNow() - cpu_}; }

 private:
  const double wall_ = Now();
  const double cpu_ = CpuNow();
};

// ---- the limit: a server that answers without doing anything, or only stores ----

class ByteSink final : public grpc::ServerBidiReactor<v1::UploadMessage, v1::UploadReply> {
 public:
  // `blobs` null: throws the bytes away.
  explicit ByteSink(BlobStore* blobs) : blobs_(blobs) { StartRead(&message_); }
  void OnReadDone(bool ok) override {
    if (ok && message_.has_begin()) {
      begin_ = message_.begin();
      if (blobs_ != nullptr) writer_ = *blobs_->Create(begin_.bytes());
      reply_.set_committed(0);
      return StartWrite(&reply_);
    }
    if (ok) {
      if (blobs_ != nullptr)
        Die(writer_->Append(std::as_bytes(std::span(message_.chunk().data()))));
      return StartRead(&message_);
    }
    if (blobs_ != nullptr) Die(writer_->Commit(HexOfBytes(begin_.sha256())).status());
    reply_.mutable_receipt()->set_sha256(begin_.sha256());
    done_ = true;
    StartWrite(&reply_);
  }
  void OnWriteDone(bool) override { done_ ? Finish(grpc::Status::OK) : StartRead(&message_); }
  void OnDone() override { delete this; }

 private:
  BlobStore* const blobs_;
  std::unique_ptr<BlobWriter> writer_;
  v1::UploadMessage message_;
  v1::UploadReply reply_;
  v1::UploadBegin begin_;
  bool done_ = false;
};

class Echo final : public grpc::ServerBidiReactor<v1::AgentMessage, v1::CoordinatorMessage> {
 public:
  Echo() { StartRead(&message_); }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    reply_.Clear();
    if (message_.has_hello()) reply_.mutable_welcome();
    if (message_.has_evaluation()) {
      reply_.mutable_acknowledgement()->set_sequence(message_.evaluation().sequence());
    }
    StartWrite(&reply_);
  }
  void OnWriteDone(bool) override { StartRead(&message_); }
  void OnDone() override { delete this; }

 private:
  v1::AgentMessage message_;
  v1::CoordinatorMessage reply_;
};

class BareService final : public v1::Federation::CallbackService {
 public:
  explicit BareService(BlobStore* blobs) : blobs_(blobs) {}
  grpc::ServerBidiReactor<v1::UploadMessage, v1::UploadReply>* Upload(
      grpc::CallbackServerContext*) override {
    return new ByteSink(blobs_);
  }
  grpc::ServerBidiReactor<v1::AgentMessage, v1::CoordinatorMessage>* Connect(
      grpc::CallbackServerContext*) override {
    return new Echo;
  }

 private:
  BlobStore* const blobs_;
};

class BareServer {
 public:
  explicit BareServer(const TlsFiles& tls, BlobStore* blobs = nullptr) : service_(blobs) {
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
    builder.AddListeningPort("127.0.0.1:0", MutualTlsServer(tls), &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
  }
  ~BareServer() { server_->Shutdown(std::chrono::system_clock::now()); }
  int port() const { return port_; }

 private:
  BareService service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// ---- clients ----

struct Update {
  std::string file;
  Outcome outcome;
};

std::vector<Update> MakeUpdates(const Manifest& manifest, int count) {
  std::vector<Update> updates(static_cast<size_t>(count));
  for (int number = 0; number < count; ++number) {
    Update& update = updates[number];
    ParameterSet values(manifest);
    values.floats(0)[0] = static_cast<float>(number + 1) / 1024;  // every blob is another
    update.file = SafetensorsBytes(values);
    update.outcome.kind = Outcome::Kind::kTrained;
    update.outcome.sha256 = Sha256Hex(update.file);
    update.outcome.bytes = update.file.size();
    update.outcome.examples = update.outcome.tokens = update.outcome.steps = 1;
  }
  return updates;
}

// Two uploads at a time.
void UploadAll(const Agents& agents, int port, std::vector<Update>& updates,
               const std::string& job) {
  std::atomic<size_t> next{0};
  ForEach(2, [&](int) {
    for (size_t number = next++; number < updates.size(); number = next++) {
      Update& update = updates[number];
      update.outcome.key = {job, 1, 1};
      const auto stub = agents.Dial(static_cast<int>(number), port);
      grpc::ClientContext context;
      Die(UploadUpdate(*stub, context, update.outcome, update.file));
    }
  });
}

Cost IngestOurs(const fs::path& directory, const TlsFiles& tls, const Agents& agents,
                const Manifest& manifest, std::vector<Update>& updates) {
  const int count = static_cast<int>(updates.size());
  Daemon daemon(directory, tls, BenchPlanner(manifest, count));
  const std::string job = OpenRound(daemon.federation(), count);
  const Stopwatch watch;
  UploadAll(agents, daemon.port(), updates, job);
  WaitForRound(daemon.federation(), job, 1);
  return watch.Read();
}

Cost IngestBare(const TlsFiles& tls, const Agents& agents, std::vector<Update>& updates) {
  BareServer server(tls);
  const Stopwatch watch;
  UploadAll(agents, server.port(), updates, "bare");
  return watch.Read();
}

Cost IngestStored(const fs::path& directory, const TlsFiles& tls, const Agents& agents,
                  std::vector<Update>& updates) {
  const std::unique_ptr<BlobStore> blobs = *OpenDirectoryBlobStore(directory);
  Cost cost;
  {
    BareServer server(tls, blobs.get());
    const Stopwatch watch;
    UploadAll(agents, server.port(), updates, "bare");
    cost = watch.Read();
  }
  fs::remove_all(directory);
  return cost;
}

// Every agent sends a report of every job over its one stream and reads until all are acknowledged.
// The first job's, the one task it was given, comes last, so that nothing but acknowledgements
// comes back.
Cost ReportAll(const Agents& agents, int port, const std::vector<std::string>& jobs,
               const std::function<void()>& when_connected) {
  std::atomic<int> connected{0};
  std::atomic<bool> go{false};
  std::vector<Cost> ends(static_cast<size_t>(agents.count()));
  std::optional<Stopwatch> watch;
  std::thread starter([&] {
    while (connected < agents.count()) std::this_thread::yield();
    when_connected();
    watch.emplace();
    go = true;
  });
  ForEach(agents.count(), [&](int agent) {
    const auto stub = agents.Dial(agent, port);
    grpc::ClientContext context;
    const auto stream = stub->Connect(&context);
    v1::AgentMessage hello;
    hello.mutable_hello()->set_protocol_min(kProtocolMin);
    hello.mutable_hello()->set_protocol_max(kProtocolMax);
    stream->Write(hello);
    v1::CoordinatorMessage answer;
    if (!stream->Read(&answer) || !answer.has_welcome()) Die(absl::InternalError("no welcome"));
    ++connected;
    while (!go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::thread writer([&] {
      for (size_t left = jobs.size(); left > 0; --left) {
        v1::AgentMessage message;
        v1::Evaluation& report = *message.mutable_evaluation();
        report.set_sequence(left);
        report.mutable_key()->set_job(jobs[left - 1]);
        report.set_counted(1);
        if (!stream->Write(message)) return;
      }
    });
    for (size_t acknowledged = 0; acknowledged < jobs.size();) {
      if (!stream->Read(&answer)) Die(absl::InternalError("the stream ended early"));
      if (!answer.has_acknowledgement()) continue;
      if (answer.acknowledgement().code() != 0) {
        Die(absl::InternalError(answer.acknowledgement().message()));
      }
      ++acknowledged;
    }
    ends[agent] = watch->Read();
    writer.join();
    context.TryCancel();
  });
  starter.join();
  return *std::max_element(ends.begin(), ends.end(),
                           [](const Cost& a, const Cost& b) { return a.wall < b.wall; });
}

Cost DurableOurs(const fs::path& directory, const TlsFiles& tls, const Agents& agents,
                 int reports) {
  // One client more than there are agents: it never reports, so that no round opens meanwhile.
  Daemon daemon(directory, tls, BenchPlanner(BenchManifest(1), agents.count() + 1));
  std::vector<std::string> jobs;
  for (int number = 0; number < reports; ++number) {
    auto job = daemon.federation().Submit({"bench " + std::to_string(number), ""});
    Die(job.status());
    jobs.push_back(*job);
  }
  return ReportAll(agents, daemon.port(), jobs, [&daemon, &agents] {
    while (daemon.connected() < static_cast<size_t>(agents.count())) std::this_thread::yield();
    ClientFacts silent;
    silent.name = "silent";
    daemon.federation().Connected(silent);
  });
}

Cost DurableBare(const TlsFiles& tls, const Agents& agents, int reports) {
  BareServer server(tls);
  return ReportAll(agents, server.port(), std::vector<std::string>(reports, "0123456789ab"), [] {});
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// In turn, bare and ours; the ratios are of each pair, their medians printed with the extremes.
// cpu_ratio is that of processor time, which says the same where the server is all there is to do
// and hardly moves when other programs run beside.
void Compare(const std::string& bench, const char* unit, double work, int repeats,
             const std::function<Cost()>& bare, const std::function<Cost()>& ours) {
  std::vector<double> rates, limits, ratios, cpu, cpu_limits, cpu_ratios;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const Cost limit = bare();
    const Cost cost = ours();
    limits.push_back(work / limit.wall);
    rates.push_back(work / cost.wall);
    ratios.push_back(limit.wall / cost.wall);
    cpu.push_back(cost.cpu);
    cpu_limits.push_back(limit.cpu);
    cpu_ratios.push_back(limit.cpu / cost.cpu);
  }
  std::printf(
      "{\"bench\":\"%s\",\"unit\":\"%s\",\"ours\":%.3f,\"bare_grpc\":%.3f,\"ratio\":%.2f,"
      "\"ratio_min\":%.2f,\"ratio_max\":%.2f,\"cpu_s\":%.3f,\"bare_cpu_s\":%.3f,"
      "\"cpu_ratio\":%.2f,\"repeats\":%d}\n",
      bench.c_str(), unit, Median(rates), Median(limits), Median(ratios),
      *std::min_element(ratios.begin(), ratios.end()),
      *std::max_element(ratios.begin(), ratios.end()), Median(cpu), Median(cpu_limits),
      Median(cpu_ratios), repeats);
  std::fflush(stdout);
}

// One round of `uploads` updates of `mib` MiB.
struct Round {
  int64_t mib;
  int uploads;

  std::string Name(const char* bench) const {
    return std::string(bench) + " " + std::to_string(uploads) + " x " + std::to_string(mib) +
           " MiB";
  }
  double GiB() const { return static_cast<double>(mib) * uploads / 1024; }
};

void CompareIngest(const fs::path& state, const TlsFiles& tls, const Agents& agents,
                   const Round& round, bool store_only, int repeats) {
  const Manifest manifest = BenchManifest(round.mib);
  std::vector<Update> updates = MakeUpdates(manifest, round.uploads);
  const auto bare = [&] { return IngestBare(tls, agents, updates); };
  Compare(round.Name("ingest_and_aggregate"), "GiB/s", round.GiB(), repeats, bare,
          [&] { return IngestOurs(state, tls, agents, manifest, updates); });
  if (!store_only) return;
  Compare(round.Name("store_only"), "GiB/s", round.GiB(), repeats, bare,
          [&] { return IngestStored(state, tls, agents, updates); });
}

void Run(const fs::path& directory, const Round& round, int agent_count, int reports, int repeats) {
  fs::remove_all(directory);
  fs::create_directories(directory);
  Die(InitPki({.federation = "bench"}, directory / "pki").status());
  const TlsFiles tls = TlsOf(directory / "pki" / "coordinator");
  const Round many{std::max<int64_t>(round.mib / 4, 1), 4 * round.uploads};
  const Agents agents(directory / "pki", std::max(many.uploads, agent_count));
  const Agents reporters(directory / "pki", agent_count);
  CompareIngest(directory / "state", tls, agents, round, true, repeats);
  CompareIngest(directory / "state", tls, agents, many, false, repeats);
  Compare(
      "durable_acknowledgements", "1/s", static_cast<double>(reports) * agent_count, repeats,
      [&] { return DurableBare(tls, reporters, reports); },
      [&] { return DurableOurs(directory / "state", tls, reporters, reports); });
  fs::remove_all(directory);
}

int64_t Argument(int count, char** arguments, int position, int64_t absent) {
  return count > position ? std::max(1ll, std::atoll(arguments[position])) : absent;
}

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  using namespace rivulet;
  RequireTls13();
  const auto number = [&](int position, int64_t absent) {
    return static_cast<int>(Argument(argc, argv, position, absent));
  };
  Run(argc > 1 ? argv[1] : "/tmp/rivulet-wire-bench", {number(2, 64), number(3, 8)}, number(4, 32),
      number(5, 200), number(6, 5));
}
