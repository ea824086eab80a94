#include "simulations/engine/simulation.h"

#include <sys/resource.h>

#include <memory>

#include "simulations/engine/fleet.h"

namespace rivulet {
namespace {

constexpr auto kIdle = std::chrono::milliseconds(100);

absl::StatusOr<std::string> ReadState(const Federation& federation, const BlobStore& blobs,
                                      const std::string& job) {
  RV_ASSIGN_OR_RETURN(const std::vector<NamedBlob> downloads, federation.Downloads(job));
  for (const NamedBlob& blob : downloads) {
    if (blob.name == "state") return blobs.Get(blob.sha256, blob.bytes);
  }
  return Refuse(absl::StatusCode::kNotFound, "job " + job + ": no global state was published");
}

uint64_t PeakRss() {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

// Until the job has ended or `idle` says stop.
absl::StatusOr<JobView> Drive(Federation& federation, const std::string& job,
                              const std::function<bool(const JobView&)>& idle) {
  while (true) {
    federation.Tick();
    RV_ASSIGN_OR_RETURN(JobView view, federation.WaitForEnd(job, kIdle));
    if (view.ended()) return view;
    if (!idle(view)) {
      return WithExit(Refuse(absl::StatusCode::kCancelled,
                             "interrupted in round " + std::to_string(view.round + 1)),
                      ExitCode::kInterrupted);
    }
  }
}

}  // namespace

absl::StatusOr<SimulationResult> RunSimulation(const SimulationConfig& config,
                                               const std::vector<std::string>& clients,
                                               LocalResources& resources,
                                               const std::function<void(const JobEvent&)>& watch,
                                               const std::function<bool(const JobView&)>& idle) {
  const SystemClock clock;
  const std::unique_ptr<StateStore> states = MakeMemoryStateStore();
  const std::unique_ptr<BlobStore> blobs = MakeMemoryBlobStore();
  TaskRunner runner(resources);
  Fleet fleet({config.workers, config.spec.simulate.drop_rate, config.spec.job.seed}, runner);
  Federation federation(FederationConfig{}, *states, *blobs, fleet, clock);
  RV_RETURN_IF_ERROR(federation.Recover());
  fleet.Start(federation);

  for (const std::string& client : clients) {
    ClientFacts facts;
    facts.name = client;
    facts.datasets = {config.spec.data.dataset};
    facts.base_models = {config.spec.model.hash};
    federation.Connected(facts);
  }
  const uint64_t subscription = federation.Subscribe("", watch);
  const absl::StatusOr<std::string> job = federation.Submit({config.document, ""});
  absl::StatusOr<JobView> view = job.ok() ? Drive(federation, *job, idle) : job.status();
  fleet.Stop();
  federation.Unsubscribe(subscription);
  RV_RETURN_IF_ERROR(view.status());

  SimulationResult result;
  result.view = *std::move(view);
  if (auto state = ReadState(federation, *blobs, result.view.id); state.ok())
    result.state_file = *std::move(state);
  result.peak_rss_bytes = PeakRss();
  return result;
}

}  // namespace rivulet
