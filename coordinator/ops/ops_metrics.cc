#include "coordinator/ops/ops_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <set>

#include "coordinator/ops/exposition.h"

namespace rivulet {
namespace {

constexpr int64_t kKeepEndedMs = 3'600'000;

uint64_t ResidentBytes() {
  unsigned long total = 0, resident = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%lu %lu", &total, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void Jobs(const std::vector<JobView>& jobs, Exposition& page) {
  std::map<std::string, int> states;
  for (const JobState state : {JobState::kActive, JobState::kStopping, JobState::kFinished,
                               JobState::kFailed, JobState::kStopped}) {
    states[std::string(NameOf(state))] = 0;
  }
  for (const JobView& job : jobs) ++states[std::string(NameOf(job.state))];
  page.Family("rivulet_jobs", "gauge", "Jobs by state.");
  for (const auto& [state, count] : states) page.Sample(count, {{"state", state}});
}

// The jobs that have samples of their own.
std::set<std::string> Rounds(const std::vector<JobView>& jobs, int64_t now_ms, Exposition& page) {
  std::set<std::string> shown;
  page.Family("rivulet_round_current", "gauge", "Last published round of a job.");
  for (const JobView& job : jobs) {
    if (job.ended() && now_ms - job.ended_ms > kKeepEndedMs) continue;
    page.Sample(static_cast<double>(job.round), {{"fl_job", job.id}});
    shown.insert(job.id);
  }
  return shown;
}

void Counter(Exposition& page, std::string_view name, std::string_view help, uint64_t value) {
  page.Family(name, "counter", help);
  page.Sample(static_cast<double>(value));
}

void Gauge(Exposition& page, std::string_view name, std::string_view help, double value) {
  page.Family(name, "gauge", help);
  page.Sample(value);
}

void Counters(const Traffic& traffic, Exposition& page) {
  Counter(page, "rivulet_uplink_bytes_total", "Update bytes received.", traffic.uplink_bytes);
  Counter(page, "rivulet_downlink_bytes_total", "State bytes sent.", traffic.downlink_bytes);
  Counter(page, "rivulet_updates_accepted_total", "Updates acknowledged.",
          traffic.uploads_accepted);
  Counter(page, "rivulet_updates_rejected_total", "Updates refused for what they hold.",
          traffic.uploads_rejected);
  Counter(page, "rivulet_upload_resumes_total", "Uploads that went on where one broke.",
          traffic.uploads_resumed);
  Counter(page, "rivulet_client_failures_total", "Tasks that agents gave up.",
          traffic.failures_reported);
  Counter(page, "rivulet_streams_opened_total", "Agent streams.", traffic.streams_opened);
  Counter(page, "rivulet_calls_denied_total", "Calls refused by identity or role.",
          traffic.calls_denied);
}

}  // namespace

std::string MetricsPage(const ServiceContext& service, const Clock& clock, RoundMetrics& rounds) {
  Exposition page;
  page.Family("rivulet_build_info", "gauge", "Constant 1.");
  page.Sample(1, {{"version", RIVULET_VERSION}});
  const std::vector<JobView> jobs = service.federation.List();
  Jobs(jobs, page);
  rounds.WriteTo(page, Rounds(jobs, clock.UnixMillis(), page));
  page.Family("rivulet_clients", "gauge", "Agents by state.");
  page.Sample(static_cast<double>(service.streams.size()), {{"state", "connected"}});
  page.Family("rivulet_queue_depth", "gauge", "Work that waits for a thread.");
  page.Sample(static_cast<double>(service.workers.depth()), {{"queue", "transfers"}});
  Counters(service.traffic, page);
  Gauge(page, "rivulet_disk_free_bytes", "Left on the file system of the blobs.",
        static_cast<double>(service.blobs.FreeBytes()));
  page.Family("process_cpu_seconds_total", "counter", "Processor time used.");
  page.Sample(CpuSeconds());
  Gauge(page, "process_resident_memory_bytes", "Resident memory.",
        static_cast<double>(ResidentBytes()));
  return page.text();
}

}  // namespace rivulet
