#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "client/runtime/task_runner.h"
#include "coordinator/rounds/federation.h"
#include "coordinator/rounds/selection.h"

namespace rivulet {

struct SimulationConfig {
  JobSpec spec;                      // validated
  std::filesystem::path base_model;  // folder of the base model
  std::string document;              // canonical job document
  std::string base_tensors;          // the file it names (BaseTensorsFile), or empty
  int workers = 0;                   // clients trained at once; 0 = cores / train.threads
  TaskRunner::TunerFactory tuners;   // empty: what an agent trains with
};

struct SimulationResult {
  JobView view;            // of the ended job
  std::string state_file;  // safetensors of the final global state
  std::map<uint64_t, std::string>
      kept;  // the same after each round that export.save-every-round keeps
  uint64_t peak_rss_bytes = 0;
};

// Whom the first round of `spec` invites when all `clients` are there from the start.
// Errors: InvalidArgument (exit 3) when the job asks for more clients than there are, or trusts one
// that is not among them.
absl::StatusOr<Cohort> FirstCohort(const JobSpec& spec, const std::vector<std::string>& clients);

// Runs a whole job in this process: the daemon's federation over memory stores, `clients` behind it
// in a Fleet.
//   `resources`  base model and data of every client; must outlive the call
//   `watch`      called for every event, from several threads, never at once
//   `idle`       called about ten times a second with the current view; false stops the job after
//                what is published: the open round is given up
// Errors: those of Federation::Submit. A job that fails or is stopped is no error: see view.state
// and view.exit_code.
absl::StatusOr<SimulationResult> RunSimulation(const SimulationConfig& config,
                                               const std::vector<std::string>& clients,
                                               LocalResources& resources,
                                               const std::function<void(const JobEvent&)>& watch,
                                               const std::function<bool(const JobView&)>& idle);

}  // namespace rivulet
