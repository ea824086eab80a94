#include <iostream>
#include <memory>
#include <utility>

#include "common/job/job_file.h"
#include "common/job/job_model.h"
#include "coordinator/cli/commands.h"
#include "privacy/masking/masking_terms.h"

namespace rivulet {
namespace {

struct ShowOptions {
  std::string file;
  std::vector<std::string> sets;
  std::string model_dir;
  bool origins = false;
};

// What `rivulet simulate --print-config` prints; --format json has the origins too.
absl::Status ShowConfig(const OperatorSettings& settings, const ShowOptions& options) {
  RV_ASSIGN_OR_RETURN(LoadedJob job, LoadJob(options.file, ProcessEnvironment(), options.sets));
  for (const std::string& note : job.notes) std::cerr << "rivulet: " << note << '\n';
  if (!options.model_dir.empty()) {
    RV_RETURN_IF_ERROR(job.Validate());
    absl::StatusOr<JobDocument> document = DescribeJob(options.model_dir, job.spec);
    if (!document.ok()) return WithDefaultExit(document.status(), ExitCode::kConfig);
    job.spec = std::move(document->spec);
  }
  if (settings.json()) {
    std::cout << OriginJson(job);
  } else if (options.origins) {
    std::cout << OriginTable(job);
  } else {
    std::cout << JobToml(job.spec) << MaskingComment(job.spec);
  }
  return absl::OkStatus();
}

}  // namespace

void AddConfigCommands(CLI::App& app, const OperatorSettings& settings, Command& chosen) {
  CLI::App* config = app.add_subcommand("config", "what a job file comes to");
  config->require_subcommand(1);
  CLI::App* show = config->add_subcommand("show", "the complete job file, defaults filled in");
  auto options = std::make_shared<ShowOptions>();
  show->add_option("JOB", options->file, "job.toml")->required();
  show->add_option("--set", options->sets, "path=value, over the file")->allow_extra_args(false);
  show->add_option("--model-dir", options->model_dir,
                   "the base model's folder: fills in what follows from it (model.hash, "
                   "train.queries of a target-cosine)");
  show->add_flag("--origin", options->origins, "where each value comes from");
  show->callback([&settings, &chosen, options] {
    chosen = [&settings, options] { return ShowConfig(settings, *options); };
  });
}

}  // namespace rivulet
