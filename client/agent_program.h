#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "client/agent/coordinator_link.h"
#include "client/agent/local_work.h"
#include "client/agent/policy.h"
#include "client/upload/update_encoder.h"

namespace rivulet {

// Makes the computing part for an agent of this name, which may keep files in its state directory;
// the policy outlives it.
using WorkFactory = std::function<std::unique_ptr<LocalWork>(
    const Policy& policy, const std::string& name, const std::filesystem::path& state_directory)>;

// A seam: tests lose on the way what a network can lose.
using LinkWrapper =
    std::function<std::unique_ptr<CoordinatorLink>(std::unique_ptr<CoordinatorLink> link)>;

// `rivulet-client run ...`: settings, identity, session, until SIGTERM or SIGINT. The exit code.
// `wrap` and `masked_rounding`: for tests; empty in production.
int AgentMain(int argc, char** argv, const WorkFactory& make_work, const LinkWrapper& wrap = {},
              const RoundingMaker& masked_rounding = {});

}  // namespace rivulet
