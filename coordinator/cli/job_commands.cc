#include <unistd.h>

#include <iostream>
#include <memory>

#include "aggregation/scalars/scalar_replay.h"
#include "common/job/job_document.h"
#include "common/job/job_file.h"
#include "common/job/job_keys.h"
#include "common/job/job_model.h"
#include "common/rpc/hash_bytes.h"
#include "coordinator/cli/answer.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/job_download.h"
#include "coordinator/cli/job_output.h"
#include "coordinator/cli/job_watch.h"
#include "privacy/crypto/random_bytes.h"

namespace rivulet {
namespace {

struct SubmitOptions {
  std::string file;
  std::string model_dir;
  std::vector<std::string> sets;
  std::string token;
  bool watch = false;
  bool dry_run = false;
};

struct DescribedJob {
  JobDocument document;
  std::string base_tensors;  // the file it names
};

absl::StatusOr<DescribedJob> Describe(const SubmitOptions& options) {
  RV_ASSIGN_OR_RETURN(const LoadedJob loaded,
                      LoadJob(options.file, ProcessEnvironment(), options.sets));
  for (const std::string& note : loaded.notes) std::cerr << "rivulet: " << note << '\n';
  RV_RETURN_IF_ERROR(loaded.Validate());
  for (const std::string& warning : loaded.spec.SubmitWarnings())
    std::cerr << "rivulet: warning: " << warning << '\n';
  const std::string folder = options.model_dir.empty() ? loaded.spec.model.name : options.model_dir;
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    return WithExit(Refuse(absl::StatusCode::kNotFound,
                           "model.name: '" + folder +
                               "' is no folder here; name the base model's with --model-dir"),
                    ExitCode::kConfig);
  }
  // What is wrong with the job's own words is exit 3, as in `rivulet simulate`.
  absl::StatusOr<JobDocument> document = DescribeJob(folder, loaded.spec);
  if (!document.ok()) return WithDefaultExit(document.status(), ExitCode::kConfig);
  DescribedJob job;
  job.document = *std::move(document);
  if (const TrainSection& train = job.document.spec.train; train.target_cosine > 0) {
    std::cerr << "rivulet: train.queries = " << train.queries
              << " for train.target-cosine = " << NumberText(train.target_cosine) << '\n';
  }
  RV_ASSIGN_OR_RETURN(const JobModel model, JobModelOf(job.document));
  const std::string replay = ReplayWarning(job.document.spec, model.plan.wire());
  if (!replay.empty()) std::cerr << "rivulet: warning: " << replay << '\n';
  RV_ASSIGN_OR_RETURN(job.base_tensors, BaseTensorsFile(folder, job.document));
  return job;
}

absl::Status Submit(const OperatorSettings& settings, const SubmitOptions& options) {
  RV_ASSIGN_OR_RETURN(const DescribedJob job, Describe(options));
  const JobDocument& document = job.document;
  if (options.dry_run) {
    const std::string hash = JobHash(document);
    Answer(settings, "ok: job hash " + hash + ", base model " + document.base_hash, "JobChecked",
           {{"job_hash", hash}, {"base_model", document.base_hash}});
    return absl::OkStatus();
  }
  RV_ASSIGN_OR_RETURN(OperatorClient client, OperatorClient::Connect(settings));
  // Without a token of the caller's, one for this command: a repeated try finds the same job.
  const std::string token = options.token.empty() ? HexOfBytes(SecretBytes(16)) : options.token;
  const auto submit = [&] {
    return client.Submit(JobDocumentText(document), token, job.base_tensors);
  };
  absl::StatusOr<std::string> id = submit();
  if (!id.ok() && id.status().code() == absl::StatusCode::kUnavailable) id = submit();
  RV_RETURN_IF_ERROR(id.status());
  Answer(settings, *id, "JobSubmitted", {{"id", *id}});
  return options.watch ? WatchJob(settings, client, *id) : absl::OkStatus();
}

absl::Status ListJobs(const OperatorSettings& settings) {
  RV_ASSIGN_OR_RETURN(OperatorClient client, OperatorClient::Connect(settings));
  RV_ASSIGN_OR_RETURN(const v1::ListReply jobs, client.List());
  std::cout << (settings.json() ? JobListJson(jobs) + "\n" : JobTable(jobs));
  return absl::OkStatus();
}

absl::Status ShowJob(const OperatorSettings& settings, const std::string& id) {
  RV_ASSIGN_OR_RETURN(OperatorClient client, OperatorClient::Connect(settings));
  RV_ASSIGN_OR_RETURN(const v1::Job job, client.Show(id));
  std::cout << (settings.json() ? JobJson(job) + "\n" : JobText(job));
  return absl::OkStatus();
}

absl::Status Confirm(const std::string& question, bool yes) {
  if (yes) return absl::OkStatus();
  const absl::Status refused = WithExit(
      Refuse(absl::StatusCode::kFailedPrecondition, question + " Not confirmed; see --yes."),
      ExitCode::kUsage);
  if (isatty(0) == 0) return refused;
  std::cerr << question << " [y/N] ";
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "yes" ? absl::OkStatus() : refused;
}

struct StopOptions {
  std::string id;
  bool now = false;
  bool yes = false;
};

absl::Status Stop(const OperatorSettings& settings, const StopOptions& options) {
  if (options.now) {
    RV_RETURN_IF_ERROR(Confirm("Abandon the open round of " + options.id + "?", options.yes));
  }
  RV_ASSIGN_OR_RETURN(OperatorClient client, OperatorClient::Connect(settings));
  RV_ASSIGN_OR_RETURN(const std::string id, client.Stop(options.id, options.now));
  Answer(settings, id + (options.now ? ": stopped" : ": stops after the open round"), "JobStop",
         {{"id", id}, {"state", options.now ? "stopped" : "stopping"}});
  return absl::OkStatus();
}

struct DownloadOptions {
  std::string id;
  std::string out;
  std::string artifact = "state";
  std::string profile;
  std::string base_model;
};

absl::Status Download(const OperatorSettings& settings, const DownloadOptions& options) {
  RV_ASSIGN_OR_RETURN(OperatorClient client, OperatorClient::Connect(settings));
  RV_ASSIGN_OR_RETURN(const v1::Job job, client.Show(options.id));
  const std::string folder = options.out.empty() ? job.id() : options.out;
  RV_ASSIGN_OR_RETURN(
      const std::string hash,
      DownloadJob(client, job.id(), options.artifact, folder, options.profile, options.base_model));
  Answer(settings, folder + "  state hash " + hash, "JobDownload",
         {{"id", job.id()}, {"folder", folder}, {"state_hash", hash}});
  return absl::OkStatus();
}

void AddSubmit(CLI::App& job, const OperatorSettings& settings, Command& chosen) {
  CLI::App* verb = job.add_subcommand("submit", "submit a job file; prints the job's id");
  auto options = std::make_shared<SubmitOptions>();
  verb->add_option("JOB", options->file, "job.toml")->required();
  verb->add_option("--model-dir", options->model_dir, "the base model's folder, if not model.name");
  verb->add_option("--set", options->sets, "path=value, over the file")->allow_extra_args(false);
  verb->add_option("--submit-token", options->token, "the same token submits once");
  verb->add_flag("--watch", options->watch, "follow it until it ends");
  verb->add_flag("--dry-run", options->dry_run, "check the file, submit nothing");
  verb->callback([&settings, &chosen, options] {
    chosen = [&settings, options] { return Submit(settings, *options); };
  });
}

void AddWithId(CLI::App& job, const std::string& name, const std::string& help,
               const OperatorSettings& settings, Command& chosen,
               absl::Status (*run)(const OperatorSettings&, const std::string&)) {
  CLI::App* verb = job.add_subcommand(name, help);
  auto id = std::make_shared<std::string>();
  verb->add_option("ID", *id, "an id, a unique prefix of one, or @last")->required();
  verb->callback([&settings, &chosen, id, run] {
    chosen = [&settings, id, run] { return run(settings, *id); };
  });
}

void AddStop(CLI::App& job, const OperatorSettings& settings, Command& chosen) {
  CLI::App* verb = job.add_subcommand("stop", "finish the open round and stop");
  auto options = std::make_shared<StopOptions>();
  verb->add_option("ID", options->id, "an id, a unique prefix of one, or @last")->required();
  verb->add_flag("--now", options->now, "abandon the open round");
  verb->add_flag("--yes", options->yes, "do not ask");
  verb->callback([&settings, &chosen, options] {
    chosen = [&settings, options] { return Stop(settings, *options); };
  });
}

void AddDownload(CLI::App& job, const OperatorSettings& settings, Command& chosen) {
  CLI::App* verb = job.add_subcommand(
      "download", "write what a job trained: an adapter, or tensors for `model merge`");
  auto options = std::make_shared<DownloadOptions>();
  verb->add_option("ID", options->id, "an id, a unique prefix of one, or @last")->required();
  verb->add_option("--out,-o", options->out, "folder; default: the job's id");
  verb->add_option("--artifact", options->artifact, "state, or state-<round>")
      ->capture_default_str();
  verb->add_option("--profile", options->profile, "peft, portable, adapterhub or tensors");
  verb->add_option("--base-model", options->base_model,
                   "folder of the base model; only a prompt of a subspace that starts from it "
                   "needs that");
  verb->callback([&settings, &chosen, options] {
    chosen = [&settings, options] { return Download(settings, *options); };
  });
}

absl::Status Watch(const OperatorSettings& settings, const std::string& id) {
  RV_ASSIGN_OR_RETURN(OperatorClient client, OperatorClient::Connect(settings));
  return WatchJob(settings, client, id);
}

}  // namespace

void AddJobCommands(CLI::App& app, const OperatorSettings& settings, Command& chosen) {
  CLI::App* job = app.add_subcommand("job", "submit, list, show, watch, stop, download");
  job->require_subcommand(1);
  AddSubmit(*job, settings, chosen);
  CLI::App* list = job->add_subcommand("list", "all jobs")->alias("ls");
  list->callback([&settings, &chosen] { chosen = [&settings] { return ListJobs(settings); }; });
  AddWithId(*job, "show", "everything about a job", settings, chosen, ShowJob);
  AddWithId(*job, "watch", "follow a job; interrupting leaves it running", settings, chosen, Watch);
  AddStop(*job, settings, chosen);
  AddDownload(*job, settings, chosen);
}

}  // namespace rivulet
