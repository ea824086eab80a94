// What the coordinator makes of uploads, beside the limit measured in the same run. Prints JSON
// lines. Not a test.
//   coordinator_bench [directory=/tmp/rivulet-bench] [state MiB=64] [most uploads=64]
//
// ingest     uploads into the federation on directories (1 MiB pieces, hash, checks, fsync, row),
//            then aggregation and publication, against writing, hashing and syncing plain files
// memory     peak RSS of a process that takes 4, 16, 64 uploads
// durable    acknowledged rows a second from many threads, against single commits
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "common/formats/safetensors_writer.h"
#include "coordinator/rounds/federation.h"
#include "tests/bench/bench_job.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
constexpr size_t kPiece = 1 << 20;

class BenchGateway : public ClientGateway {
 public:
  void Send(const std::string& client, const ClientTask& task) override {
    orders.push_back({client, task});
  }
  void Cancel(const std::string&, const std::string&, uint64_t, uint32_t,
              const std::string&) override {}
  std::vector<std::pair<std::string, ClientTask>> orders;
};

struct Times {
  double ingest = 0;
  double aggregate = 0;
};

// One client's file: the shared bytes with one value of its own, so that every blob is another.
UpdateHeader Personal(std::string& file, int client, const ClientTask& task) {
  const float value = static_cast<float>(client + 1) / 1024;
  std::memcpy(file.data() + file.size() - sizeof value, &value, sizeof value);
  UpdateHeader header;
  header.job_id = task.job_id;
  header.round = task.round;
  header.attempt = task.attempt;
  header.sha256 = Sha256Hex(file);  // the agent's work: outside the measured time
  header.bytes = file.size();
  header.examples = header.tokens = header.steps = 1;
  return header;
}

Times RunFederation(const fs::path& directory, int64_t mib, int clients) {
  fs::remove_all(directory);
  const auto states = std::move(*OpenSqliteStateStore(directory));
  const auto blobs = std::move(*OpenDirectoryBlobStore(directory));
  BenchGateway gateway;
  const SystemClock clock;
  FederationConfig config;
  const Manifest manifest = BenchManifest(mib);
  config.planner = BenchPlanner(manifest, clients);
  config.background = false;
  Federation federation(config, *states, *blobs, gateway, clock);
  Die(federation.Recover());
  const std::string job = *federation.Submit({"bench", ""});
  for (int client = 0; client < clients; ++client) {
    ClientFacts facts;
    facts.name = "client " + std::to_string(client);
    federation.Connected(facts);
  }
  for (const auto& [client, task] : std::exchange(gateway.orders, {})) {
    Die(federation.ReportEvaluation(client, job, 0, {}));
  }
  std::string file = SafetensorsBytes(ParameterSet(manifest));
  Times times;
  int number = 0;
  for (const auto& [client, task] : std::exchange(gateway.orders, {})) {
    const UpdateHeader header = Personal(file, number++, task);
    const double start = Now();
    const auto upload = *federation.BeginUpload(client, header);
    const auto bytes = std::as_bytes(std::span(file));
    for (size_t at = 0; at < bytes.size(); at += kPiece) {
      Die(upload->Append(at, bytes.subspan(at, std::min(kPiece, bytes.size() - at))));
    }
    Die(upload->Finish().status());
    times.ingest += Now() - start;
  }
  const double start = Now();
  federation.Tick();
  times.aggregate = Now() - start;
  if (federation.Show(job)->round != 1) Die(absl::InternalError("not published"));
  fs::remove_all(directory);
  return times;
}

// The limit: the same bytes, hashed once, written and synced as plain files.
double RunPlain(const fs::path& directory, int64_t mib, int files) {
  fs::remove_all(directory);
  fs::create_directories(directory);
  std::string file(static_cast<size_t>(mib) << 20, '\1');
  double seconds = 0;
  for (int number = 0; number < files; ++number) {
    file[0] = static_cast<char>(number);
    const double start = Now();
    Sha256 hash;
    FILE* out = std::fopen((directory / std::to_string(number)).c_str(), "wb");
    std::setvbuf(out, nullptr, _IONBF, 0);
    for (size_t at = 0; at < file.size(); at += kPiece) {
      hash.Update(std::string_view(file).substr(at, kPiece));
      if (std::fwrite(file.data() + at, 1, kPiece, out) != kPiece) std::exit(1);
    }
    hash.Finish();
    fsync(fileno(out));
    std::fclose(out);
    seconds += Now() - start;
  }
  fs::remove_all(directory);
  return seconds;
}

void Ingest(const fs::path& directory, int64_t mib, int clients) {
  const double gib = static_cast<double>(mib) * clients / 1024;
  const double plain = RunPlain(directory, mib, clients);
  const Times ours = RunFederation(directory, mib, clients);
  std::printf(
      "{\"bench\":\"ingest\",\"uploads\":%d,\"mib\":%ld,\"plain_gib_s\":%.3f,\"ingest_gib_s\":%.3f,"
      "\"aggregate_gib_s\":%.3f,\"both_gib_s\":%.3f,\"ratio_ingest\":%.2f,\"ratio_both\":%.2f}\n",
      clients, static_cast<long>(mib), gib / plain, gib / ours.ingest, gib / ours.aggregate,
      gib / (ours.ingest + ours.aggregate), plain / ours.ingest,
      plain / (ours.ingest + ours.aggregate));
  std::fflush(stdout);
}

void Memory(const fs::path& directory, int64_t mib, int clients) {
  const pid_t child = fork();
  if (child == 0) {
    RunFederation(directory, mib, clients);
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    // The bench holds one upload as its client would; it is not the coordinator's.
    std::printf(
        "{\"bench\":\"memory\",\"uploads\":%d,\"state_mib\":%ld,\"peak_rss_mib\":%ld,"
        "\"less_the_clients_file_mib\":%ld}\n",
        clients, static_cast<long>(mib), usage.ru_maxrss / 1024,
        usage.ru_maxrss / 1024 - static_cast<long>(mib));
    std::fflush(stdout);
    _exit(0);
  }
  waitpid(child, nullptr, 0);
}

double RowsPerSecond(const fs::path& directory, int threads, int rows) {
  fs::remove_all(directory);
  const auto states = std::move(*OpenSqliteStateStore(directory));
  JobRecord job;
  job.id = "j";
  RoundRecord round;
  round.job = "j";
  round.round = round.attempt = 1;
  Die(states->Commit({PutJob{job}, PutRound{round}}));
  std::atomic<int> next{0};
  std::vector<std::thread> workers;
  const double start = Now();
  for (int worker = 0; worker < threads; ++worker) {
    workers.emplace_back([&] {
      for (int row = next++; row < rows; row = next++) {
        UpdateRecord update;
        update.job = "j";
        update.round = update.attempt = 1;
        update.client = std::to_string(row);
        update.sha256 = std::string(64, 'a');
        Die(states->Commit({PutUpdate{update}}));
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  const double rate = rows / (Now() - start);
  fs::remove_all(directory);
  return rate;
}

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  using namespace rivulet;
  const fs::path directory = argc > 1 ? argv[1] : "/tmp/rivulet-bench";
  const int64_t mib = argc > 2 ? std::atoi(argv[2]) : 64;
  const int most = argc > 3 ? std::atoi(argv[3]) : 64;
  for (int clients = 4; clients <= most; clients *= 4) Memory(directory, mib, clients);
  Ingest(directory, mib, 8);
  const double one = RowsPerSecond(directory, 1, 500);
  const double many = RowsPerSecond(directory, 64, 20000);
  std::printf("{\"bench\":\"durable\",\"one_thread_rows_s\":%.0f,\"64_threads_rows_s\":%.0f}\n",
              one, many);
}
