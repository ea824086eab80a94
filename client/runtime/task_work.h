#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "client/agent/local_work.h"
#include "client/agent/policy.h"
#include "client/upload/update_encoder.h"

namespace rivulet {

// The agent's work with real models: every task is checked against the owner's policy, then done by
// a TaskRunner over the folders and files that the policy names. What error feedback keeps, and
// what was spent of each data set's privacy, lies in `state_directory`. `policy` must outlive it.
// `rounding`: for tests; empty in production.
std::unique_ptr<LocalWork> NewTaskWork(const Policy& policy, const std::string& name,
                                       const std::filesystem::path& state_directory,
                                       RoundingMaker rounding = {});

}  // namespace rivulet
