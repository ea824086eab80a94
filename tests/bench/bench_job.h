#pragma once

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "coordinator/rounds/job_plan.h"

// What the benchmarks of the coordinator share.
namespace rivulet {

inline double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

inline void Die(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::exit(1);
}

// A state of `mib` MiB in eight tensors.
inline Manifest BenchManifest(int64_t mib) {
  Manifest manifest;
  for (int64_t row = 0; row < 8; ++row) {
    manifest.push_back({"t" + std::to_string(row), DType::kF32, {mib * (1 << 20) / 4 / 8}});
  }
  return manifest;
}

// One round of all `clients`, whatever the document.
inline JobPlanner BenchPlanner(const Manifest& manifest, int clients) {
  return [manifest, clients](std::string_view) -> absl::StatusOr<JobPlan> {
    JobPlan plan;
    plan.spec.job.num_rounds = 1;
    plan.spec.job.min_clients = clients;
    plan.spec.job.min_available_clients = clients;
    plan.spec.strategy.weighting = "uniform";
    plan.manifest = manifest;
    plan.initial = [manifest](const ParameterSet&) -> absl::StatusOr<ParameterSet> {
      return ParameterSet(manifest);
    };
    return plan;
  };
}

}  // namespace rivulet
