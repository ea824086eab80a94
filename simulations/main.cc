// rivulet-simulate: a whole federation in one process.

#include <atomic>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <utility>

#include "aggregation/scalars/scalar_replay.h"
#include "common/formats/adapter_directory.h"
#include "common/formats/merge.h"
#include "common/formats/safetensors.h"
#include "common/io/file.h"
#include "common/io/size_limit.h"
#include "common/job/job_file.h"
#include "common/job/job_keys.h"
#include "common/job/job_model.h"
#include "common/settings/settings.h"
#include "common/terminal/progress.h"
#include "peft/trainer/process.h"
#include "privacy/masking/masking_terms.h"
#include "simulations/engine/simulated_resources.h"
#include "simulations/engine/simulation.h"
#include "simulations/report/run_directory.h"
#include "simulations/report/run_progress.h"

namespace rivulet {
namespace {

std::atomic<int> g_interrupts{0};

void OnInterrupt(int) {
  if (++g_interrupts > 1) _exit(static_cast<int>(ExitCode::kInterrupted));
}

struct Options {
  std::string job;
  std::vector<std::string> sets;
  std::string out = "runs";
  std::string model_dir;
  std::string format = "text";
  bool no_progress = false;
  bool print_config = false;
  bool origins = false;
  bool quiet = false;
};

constexpr char kFooter[] =
    "examples:\n"
    "  rivulet simulate job.toml\n"
    "  rivulet simulate job.toml --set job.num-rounds=20 --set train.learning-rate=3e-4\n"
    "exit codes: 0 done, 1 failure, 2 usage, 3 job file, 5 the job failed, 9 wrong base model,\n"
    "10 memory or disk, 130 interrupted (SIGINT or SIGTERM);\n"
    "all of them: rivulet help exit-codes";

// Parses the command line; a finished exit code when there is nothing to run.
std::optional<int> ParseArguments(int argc, char** argv, ErrorFormat errors, Options& options) {
  CLI::App app("Runs a federation in this process: the coordinator's and the agents' own code.",
               "rivulet simulate");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("rivulet-simulate ") + RIVULET_VERSION);
  app.add_option("job", options.job, "job.toml")->required();
  app.add_option("--set", options.sets, "section.key=value, beats file and environment")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--out", options.out, "folder of run folders")->capture_default_str();
  app.add_option("--model-dir", options.model_dir,
                 "folder of the base model; else model.name is one");
  app.add_option("--format", options.format, "text | json: events as NDJSON on stdout")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_flag("--no-progress", options.no_progress, "plain lines instead of a bar");
  app.add_flag("-q,--quiet", options.quiet, "no progress at all");
  app.add_flag("--print-config", options.print_config, "print the complete job file and stop");
  app.add_flag("--origin", options.origins, "with --print-config: where each value comes from");
  return ParseCommandLine(app, argc, argv, errors);
}

// The folder of the base model: --model-dir, or model.name as a path from here or from the job
// file.
absl::StatusOr<std::filesystem::path> FindBaseModel(const Options& options, const JobSpec& spec) {
  const std::filesystem::path named =
      options.model_dir.empty() ? spec.model.name : options.model_dir;
  const auto beside = std::filesystem::path(options.job).parent_path() / named;
  for (const auto& candidate : {named, beside}) {
    if (std::filesystem::exists(candidate / "config.json")) return candidate;
  }
  std::string text = options.model_dir.empty() ? "model.name" : "--model-dir";
  text += ": no config.json in " + named.string();
  if (beside != named) text += " or " + beside.string();
  if (options.model_dir.empty()) text += "; name a folder or give --model-dir";
  return WithExit(Refuse(absl::StatusCode::kNotFound, text), ExitCode::kConfig);
}

// Follows a run on the terminal.
class Follower {
 public:
  Follower(const Options& options, RunDirectory& run)
      : run_(run),
        json_(options.format == "json"),
        quiet_(options.quiet),
        bar_(!options.no_progress) {}

  void OnEvent(const JobEvent& event) {
    const std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = run_.Append(event);
    if (json_) std::cout << EventJson(event) << std::endl;
  }

  bool OnIdle(const JobView& view) {
    if (!quiet_) bar_.Update(ProgressOf(view));
    if (g_interrupts == 0) return true;
    if (!std::exchange(interrupted_, true)) {
      bar_.Finish();
      std::cerr << "interrupted: ending after round " << view.round << " of " << view.num_rounds
                << "; again to end at once" << std::endl;
    }
    return false;
  }

  absl::Status Finish(const JobView& view) {
    if (!quiet_) bar_.Update(ProgressOf(view));
    bar_.Finish();
    return status_;
  }

 private:
  RunDirectory& run_;
  const bool json_, quiet_;
  ProgressBar bar_;
  bool interrupted_ = false;
  std::mutex mutex_;
  absl::Status status_;
};

// What a job will cost, before it starts.
void PrintForecast(const JobSpec& spec, const JobModel& model, size_t clients,
                   const Cohort& cohort) {
  const uint64_t bytes = SizeBytesOf(model.plan.wire());
  std::cerr << spec.job.name << ": " << clients << " clients, " << cohort.needed << " a round";
  if (cohort.invited.size() > static_cast<size_t>(cohort.needed))
    std::cerr << " of " << cohort.invited.size() << " invited";
  std::cerr << ", " << spec.job.num_rounds << (spec.job.num_rounds == 1 ? " round; " : " rounds; ")
            << bytes / 4 << " trainable parameters, " << HumanBytes(bytes)
            << " up and down per client and round\n";
  if (spec.train.target_cosine > 0) {
    std::cerr << "train.queries = " << spec.train.queries
              << " for train.target-cosine = " << NumberText(spec.train.target_cosine) << '\n';
  }
  if (!spec.secure_aggregation.enabled) return;
  const auto terms = MaskingTermsText(spec, static_cast<uint32_t>(cohort.invited.size()));
  if (terms.ok()) std::cerr << "masked: " << *terms << '\n';  // else the run says why not
}

// The whole model where its own tensors were trained (in their F32), else the adapter.
absl::Status ExportTrained(const std::filesystem::path& run, const std::string& suffix,
                           const std::filesystem::path& base_model, const JobDocument& document,
                           const std::string& state_file, uint64_t round) {
  RV_ASSIGN_OR_RETURN(const ModelFiles base, ModelFiles::Open(base_model));
  RV_ASSIGN_OR_RETURN(const JobModel model, DescribeJobModel(base_model, base, document.spec));
  const Manifest manifest = model.plan.wire();
  RV_ASSIGN_OR_RETURN(ParameterSet state, ReadParameterSet(state_file, &manifest));
  Provenance provenance;
  provenance.job = document.spec.job.name;
  provenance.round = static_cast<int64_t>(round);
  provenance.base_model = document.base_hash;
  provenance.software = "rivulet " RIVULET_VERSION;
  if (model.plan.method != "full") {
    return WriteAdapterDirectory(run / ("adapter" + suffix), model, document.spec, state,
                                 provenance, "", &base)
        .status();
  }
  MergeOptions options;
  options.dtype = DType::kF32;
  return MergeModel(base_model, WholeTensors{std::move(state)}, document.spec.data.labels,
                    run / ("model" + suffix), provenance, options)
      .status();
}

// adapter/ or model/ is the last state, adapter-<round>/ or model-<round>/ each that
// export.save-every-round keeps. A job that ends before its first round has trained nothing and
// exports nothing.
absl::Status ExportStates(const std::filesystem::path& run, const std::filesystem::path& base_model,
                          const JobDocument& document, const SimulationResult& result) {
  for (const auto& [round, state_file] : result.kept) {
    RV_RETURN_IF_ERROR(
        ExportTrained(run, "-" + std::to_string(round), base_model, document, state_file, round));
  }
  if (result.state_file.empty() || result.view.round == 0) return absl::OkStatus();
  return ExportTrained(run, "", base_model, document, result.state_file, result.view.round);
}

// What is wrong with the job's own words is exit 3, unless the error says otherwise.
absl::Status AsConfigError(const absl::Status& status) {
  return ExitCodeOf(status) == ExitCode::kFailure ? WithExit(status, ExitCode::kConfig) : status;
}

// What every simulated client is told before the run: where cohorts and classes come from.
absl::Status CompleteJob(const PartitionedData& data, const std::filesystem::path& base_model,
                         JobSpec& spec) {
  if (spec.data.task == "classification" && spec.data.labels.empty()) {
    RV_ASSIGN_OR_RETURN(spec.data.labels, HeadLabels(base_model));
    if (spec.data.labels.empty()) spec.data.labels = data.labels();
  }
  // All clients of a simulation are there from the start: cohorts are drawn from all of them.
  if (spec.job.min_available_clients == 0) {
    spec.job.min_available_clients = static_cast<int>(data.names().size());
  }
  return absl::OkStatus();
}

absl::StatusOr<PartitionedData> OpenData(const JobSpec& spec) {
  auto opened = PartitionedData::Open(spec.simulate, spec.data, spec.job.seed);
  if (!opened.ok()) return WithExit(opened.status(), ExitCode::kConfig);
  for (const std::string& problem : opened->problems()) std::cerr << "skipped: " << problem << '\n';
  if (opened->malformed() > 0)
    std::cerr << "skipped: " << opened->malformed() << " malformed records in all\n";
  return opened;
}

void PrintConfig(const Options& options, const LoadedJob& job) {
  if (!options.origins) std::cout << JobToml(job.spec) << MaskingComment(job.spec);
  if (options.origins) std::cout << (options.format == "json" ? OriginJson(job) : OriginTable(job));
}

// How the job ended, as the end of the program: an error that brings its exit code, unless it is
// done.
absl::Status EndOfJob(const JobView& view) {
  if (view.state == JobState::kFinished) return absl::OkStatus();
  if (view.state == JobState::kStopped) {
    return WithExit(absl::CancelledError("stopped after round " + std::to_string(view.round) +
                                         " of " + std::to_string(view.num_rounds)),
                    ExitCode::kInterrupted);
  }
  return WithExit(Refuse(absl::StatusCode::kAborted, view.reason),
                  static_cast<ExitCode>(view.exit_code));
}

// Runs the described job into a fresh run folder and prints the closing table.
absl::Status Simulate(const Options& options, const SimulationConfig& config,
                      const std::vector<std::string>& clients, const JobDocument& document,
                      SimulatedResources& resources) {
  const SystemClock clock;
  RV_ASSIGN_OR_RETURN(const std::unique_ptr<RunDirectory> run,
                      RunDirectory::Create(options.out, config.spec.job.name, clock.UnixMillis(),
                                           config.spec.track.tensorboard));
  RV_RETURN_IF_ERROR(WriteFileAtomically(run->path() / "job.toml", JobToml(config.spec)));
  Follower follower(options, *run);
  RV_ASSIGN_OR_RETURN(
      const SimulationResult result,
      RunSimulation(
          config, clients, resources, [&](const JobEvent& event) { follower.OnEvent(event); },
          [&](const JobView& view) { return follower.OnIdle(view); }));
  const absl::Status followed = follower.Finish(result.view);
  // What was paid for.
  RV_RETURN_IF_ERROR(ExportStates(run->path(), config.base_model, document, result));
  RV_RETURN_IF_ERROR(followed);
  RV_RETURN_IF_ERROR(run->Conclude(result.view));
  RV_RETURN_IF_ERROR(run->LinkLatest());

  std::ostream& table = options.format == "json" ? std::cerr : std::cout;
  table << SummaryTable(result.view, /*per_client=*/true) << "  memory                  "
        << HumanBytes(result.peak_rss_bytes) << " at the peak\n  run                     "
        << run->path().string() << std::endl;
  return EndOfJob(result.view);
}

absl::Status Run(const Options& options) {
  RV_ASSIGN_OR_RETURN(LoadedJob job, LoadJob(options.job, ProcessEnvironment(), options.sets));
  for (const std::string& note : job.notes) std::cerr << "rivulet simulate: " << note << '\n';
  if (options.print_config) {
    PrintConfig(options, job);
    return absl::OkStatus();
  }
  RV_RETURN_IF_ERROR(job.Validate());
  for (const std::string& warning : job.spec.Warnings())
    std::cerr << "rivulet simulate: warning: " << warning << '\n';
  SimulationConfig config;
  RV_ASSIGN_OR_RETURN(config.base_model, FindBaseModel(options, job.spec));
  RV_ASSIGN_OR_RETURN(PartitionedData data, OpenData(job.spec));
  RV_RETURN_IF_ERROR(AsConfigError(CompleteJob(data, config.base_model, job.spec)));
  const std::vector<std::string> clients = data.names();
  const std::string missing = MissingClients(job.spec.simulate, job.spec.data, clients.size());
  if (!missing.empty()) std::cerr << "rivulet simulate: warning: " << missing << '\n';
  RV_ASSIGN_OR_RETURN(const Cohort cohort, FirstCohort(job.spec, clients));
  SimulatedResources resources(std::move(data), config.base_model);

  const auto described = DescribeJob(config.base_model, job.spec);
  if (!described.ok()) return AsConfigError(described.status());
  RV_ASSIGN_OR_RETURN(const JobModel model, JobModelOf(*described));
  const std::string replay = ReplayWarning(described->spec, model.plan.wire());
  if (!replay.empty()) std::cerr << "rivulet simulate: warning: " << replay << '\n';
  config.spec = described->spec;
  config.document = JobDocumentText(*described);
  RV_ASSIGN_OR_RETURN(config.base_tensors, BaseTensorsFile(config.base_model, *described));
  config.workers = config.spec.simulate.max_parallel_clients;
  if (!options.quiet) PrintForecast(config.spec, model, clients.size(), cohort);
  return Simulate(options, config, clients, *described, resources);
}

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  using namespace rivulet;
  MakeSizeLimitAnError();
  PrepareProcess();  // before any thread has memory of its own
  const ErrorFormat errors = ErrorFormatIn(argc, argv, "");
  Options options;
  if (const auto done = ParseArguments(argc, argv, errors, options)) return *done;
  std::signal(SIGINT, OnInterrupt);
  std::signal(SIGTERM, OnInterrupt);
  return ExitWith("rivulet simulate", Run(options), errors);
}
