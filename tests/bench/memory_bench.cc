// Resident memory of the coordinator, over gRPC and mutual TLS, while 4, 16 and 64 agents upload at
// once: it should not grow with them. The agents are another process. Prints JSON lines. Not a
// test.
//   memory_bench [directory=/tmp/rivulet-memory-bench] [state MiB=64]
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "client/rpc/transfers.h"
#include "common/formats/safetensors_writer.h"
#include "common/io/sha256.h"
#include "tests/bench/wire_daemon.h"

namespace rivulet {
namespace {

// Where the agents find the round.
struct Meeting {
  int port = 0;
  char job[64] = {};
};

long PeakMib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

// What this process holds of its own now; the rest of its resident memory are pages of files.
long OwnMib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    long kib = 0;
    if (word == "RssAnon:" && status >> kib) return kib / 1024;
  }
  return 0;
}

// The most it held while it waited for the round, looking every 5 ms.
long OwnMibUntil(Federation& federation, const std::string& job, uint64_t round) {
  long most = 0;
  while (federation.Show(job)->round != round) {
    most = std::max(most, OwnMib());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return most;
}

// Until the round is published.
void Serve(const fs::path& directory, int64_t mib, int uploads, int meeting_fd) {
  Daemon daemon(directory / "state", TlsOf(directory / "pki" / "coordinator"),
                BenchPlanner(BenchManifest(mib), uploads));
  const std::string job = OpenRound(daemon.federation(), uploads);
  const long before = PeakMib();
  Meeting meeting;
  meeting.port = daemon.port();
  std::strncpy(meeting.job, job.c_str(), sizeof meeting.job - 1);
  if (write(meeting_fd, &meeting, sizeof meeting) != sizeof meeting) std::abort();
  const double start = Now();
  const long own = OwnMibUntil(daemon.federation(), job, 1);
  std::printf(
      "{\"bench\":\"memory_over_mtls\",\"uploads_at_once\":%d,\"state_mib\":%lld,"
      "\"peak_rss_mib\":%ld,\"without_pages_of_files_mib\":%ld,\"before_uploads_mib\":%ld,"
      "\"seconds\":%.1f}\n",
      uploads, static_cast<long long>(mib), PeakMib(), own, before, Now() - start);
  std::fflush(stdout);
}

// The update in `file` with another last value: a private mapping, whose other pages all agents
// share.
std::string_view UpdateOf(const fs::path& file, int agent) {
  const size_t bytes = fs::file_size(file);
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0);
  if (mapped == MAP_FAILED) std::abort();
  close(descriptor);
  const float value = static_cast<float>(agent + 1) / 1024;
  std::memcpy(static_cast<char*>(mapped) + bytes - sizeof value, &value, sizeof value);
  return {static_cast<const char*>(mapped), bytes};
}

void UploadAtOnce(const fs::path& directory, int uploads, int meeting_fd) {
  Meeting meeting;
  if (read(meeting_fd, &meeting, sizeof meeting) != sizeof meeting) std::exit(1);
  const Agents agents(directory / "pki", uploads);
  ForEach(uploads, [&](int agent) {
    const std::string_view file = UpdateOf(directory / "update", agent);
    Outcome outcome;
    outcome.kind = Outcome::Kind::kTrained;
    outcome.key = {meeting.job, 1, 1};
    outcome.sha256 = Sha256Hex(file);
    outcome.bytes = file.size();
    outcome.examples = outcome.tokens = outcome.steps = 1;
    const auto stub = agents.Dial(agent, meeting.port);
    absl::Status status;
    do {  // beyond 2 GiB in flight the coordinator asks to come back
      if (!status.ok()) std::this_thread::sleep_for(std::chrono::milliseconds(200));
      grpc::ClientContext context;
      status = UploadUpdate(*stub, context, outcome, file);
    } while (RemedyOf(status) == Remedy::kRetryLater);
    Die(status);
  });
}

// In a process of its own, which ends well or with this one.
template <typename Work>
pid_t Fork(Work&& work) {
  const pid_t child = fork();
  if (child != 0) return child;
  work();
  std::_Exit(0);
}

bool EndsWell(pid_t child) {
  int status = 0;
  return waitpid(child, &status, 0) == child && status == 0;
}

// gRPC must not be touched before the last fork: it does not live through one.
void Run(const fs::path& directory, int64_t mib) {
  fs::remove_all(directory);
  fs::create_directories(directory);
  Die(InitPki({.federation = "bench"}, directory / "pki").status());
  const auto write_update = [&] {
    Die(WriteSafetensors(directory / "update", ParameterSet(BenchManifest(mib))));
  };
  if (!EndsWell(Fork(write_update))) std::exit(1);
  for (const int uploads : {4, 16, 64}) {
    int meeting[2];
    if (pipe(meeting) != 0) std::abort();
    const pid_t server = Fork([&] { Serve(directory, mib, uploads, meeting[1]); });
    const pid_t clients = Fork([&] {
      close(meeting[1]);  // a server that dies ends the read
      UploadAtOnce(directory, uploads, meeting[0]);
    });
    close(meeting[0]);
    close(meeting[1]);
    if (!EndsWell(clients)) kill(server, SIGKILL);
    if (!EndsWell(server)) std::exit(1);
  }
  fs::remove_all(directory);
}

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  rivulet::RequireTls13();
  rivulet::Run(argc > 1 ? argv[1] : "/tmp/rivulet-memory-bench",
               argc > 2 ? std::max(1ll, std::atoll(argv[2])) : 64);
}
