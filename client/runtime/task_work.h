#pragma once

#include <memory>
#include <string>

#include "client/agent/local_work.h"
#include "client/agent/policy.h"

namespace rivulet {

// The agent's work with real models: every task is checked against the owner's policy, then done by
// a TaskRunner over the folders and files that the policy names. `policy` must outlive it.
std::unique_ptr<LocalWork> NewTaskWork(const Policy& policy, const std::string& name);

}  // namespace rivulet
