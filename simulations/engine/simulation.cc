#include "simulations/engine/simulation.h"

#include <sys/resource.h>

#include <algorithm>
#include <memory>

#include "aggregation/scalars/scalar_replay.h"
#include "common/job/validate_private.h"
#include "coordinator/rounds/sentences.h"
#include "simulations/engine/fleet.h"
#include "simulations/rounding/seeded_rounding.h"

namespace rivulet {
namespace {

constexpr auto kIdle = std::chrono::milliseconds(100);

// Reads the final global state and those of the kept rounds; leaves out what was never published.
absl::Status ReadStates(const Federation& federation, const BlobStore& blobs, int every,
                        SimulationResult& result) {
  RV_ASSIGN_OR_RETURN(const std::vector<NamedBlob> downloads, federation.Downloads(result.view.id));
  std::map<std::string, const NamedBlob*> by_name;
  for (const NamedBlob& blob : downloads) by_name[blob.name] = &blob;
  const auto read = [&](const std::string& name, std::string& out) -> absl::Status {
    const auto found = by_name.find(name);
    if (found == by_name.end()) return absl::OkStatus();
    RV_ASSIGN_OR_RETURN(out, blobs.Get(found->second->sha256, found->second->bytes));
    return absl::OkStatus();
  };
  RV_RETURN_IF_ERROR(read("state", result.state_file));
  if (every <= 0) return absl::OkStatus();
  for (uint64_t round = every; round <= result.view.round; round += every) {
    RV_RETURN_IF_ERROR(read("state-" + std::to_string(round), result.kept[round]));
    if (result.kept[round].empty()) result.kept.erase(round);
  }
  return absl::OkStatus();
}

uint64_t PeakRss() {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

// Until the job has ended, if need be because `idle` says so.
absl::StatusOr<JobView> Drive(Federation& federation, const std::string& job,
                              const std::function<bool(const JobView&)>& idle) {
  while (true) {
    federation.Tick();
    RV_ASSIGN_OR_RETURN(JobView view, federation.WaitForEnd(job, kIdle));
    if (view.ended()) return view;
    // Again each time: a round that is being aggregated ends first. The job may have ended since.
    if (!idle(view)) (void)federation.Stop(job, /*now=*/true);
  }
}

absl::StatusOr<std::string> Submit(Federation& federation, BlobStore& blobs,
                                   const SimulationConfig& config) {
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> file,
                      blobs.Create(config.base_tensors.size()));
  RV_RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(config.base_tensors))));
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> reader, file->Reread());
  return federation.Submit({config.document, "", reader.get()});
}

absl::Status TooFew(const std::string& key, int64_t got, int clients) {
  return WithExit(Refuse(absl::StatusCode::kInvalidArgument,
                         key + ": got " + std::to_string(got) + ", want at most the " +
                             std::to_string(clients) + " clients of this simulation"),
                  ExitCode::kConfig);
}

}  // namespace

absl::StatusOr<Cohort> FirstCohort(const JobSpec& spec, const std::vector<std::string>& clients) {
  const JobSection& job = spec.job;
  const std::string& trusted = spec.robust.trusted_client;
  if (!trusted.empty() && std::find(clients.begin(), clients.end(), trusted) == clients.end()) {
    return WithExit(Refuse(absl::StatusCode::kInvalidArgument,
                           "robust.trusted-client: got \"" + trusted + "\", want one of the " +
                               std::to_string(clients.size()) +
                               " clients of this simulation: " + ListText(clients)),
                    ExitCode::kConfig);
  }
  const auto all = static_cast<int>(clients.size());
  const int count = all - (trusted.empty() ? 0 : 1);
  if (job.min_clients > count) return TooFew("job.min-clients", job.min_clients, count);
  if (job.min_available_clients > all)
    return TooFew("job.min-available-clients", job.min_available_clients, all);
  const int fewest = FewestSummed(spec);
  if (fewest > count) return TooFew("updates of a round", fewest, count);
  const int64_t cohorts =
      int64_t{job.clients_per_round} * std::min(spec.privacy.min_separation, job.num_rounds);
  if (spec.privacy.min_separation > 1 && cohorts > count) {
    return TooFew("job.clients-per-round x privacy.min-separation", cohorts, count);
  }
  EngineConfig config;
  config.trusted = trusted;
  config.min_clients = FewestSummed(spec);
  config.clients_per_round = job.clients_per_round;
  config.fraction = job.fraction_train;
  config.over_selection = job.over_selection;
  config.selection = job.selection;
  config.seed = job.seed;
  std::map<std::string, uint64_t> eligible;
  for (const std::string& client : clients) eligible[client] = 0;
  return SelectCohort(config, eligible, /*round=*/1, /*attempt=*/1);
}

absl::StatusOr<SimulationResult> RunSimulation(const SimulationConfig& config,
                                               const std::vector<std::string>& clients,
                                               LocalResources& resources,
                                               const std::function<void(const JobEvent&)>& watch,
                                               const std::function<bool(const JobView&)>& idle) {
  const SystemClock clock;
  const std::unique_ptr<StateStore> states = MakeMemoryStateStore();
  // Uploads are named by Fleet::Upload, which hashes them: twice would be half of a round's work.
  const std::unique_ptr<BlobStore> blobs = MakeMemoryBlobStore(/*trusting=*/true);
  TaskRunner runner(resources, config.tuners, UpdateEncoder(nullptr, SeededRounding()));
  Fleet fleet(
      {WorkersOf(config.workers, config.spec.train.threads), config.spec.simulate.drop_rate,
       config.spec.job.seed, config.spec.scalars.pool > 0, config.spec.simulate.backprop_share,
       config.spec.scalars.pool_choice == "amplitude", config.spec.scalars.drawn_from == "session",
       InTwoPasses(config.spec), KeepsAverage(config.spec)},
      runner);
  Federation federation({.round_deadlines = false}, *states, *blobs, fleet, clock);
  RV_RETURN_IF_ERROR(federation.Recover());
  if (config.spec.secure_aggregation.enabled) fleet.Mask(clients);
  fleet.Start(federation);

  for (const std::string& client : clients) {
    ClientFacts facts;
    facts.name = client;
    facts.datasets = {config.spec.data.dataset};
    facts.base_models = {config.spec.model.hash};
    fleet.Introduce(facts);
    federation.Connected(facts);
  }
  const uint64_t subscription = federation.Subscribe("", watch);
  const absl::StatusOr<std::string> job = Submit(federation, *blobs, config);
  absl::StatusOr<JobView> view = job.ok() ? Drive(federation, *job, idle) : job.status();
  fleet.Stop();
  federation.Unsubscribe(subscription);
  RV_RETURN_IF_ERROR(view.status());

  SimulationResult result;
  result.view = *std::move(view);
  RV_RETURN_IF_ERROR(ReadStates(federation, *blobs, config.spec.export_.save_every_round, result));
  result.peak_rss_bytes = PeakRss();
  return result;
}

}  // namespace rivulet
