#pragma once

#include <memory>

#include "client/agent/coordinator_link.h"

namespace rivulet {

// The way to the coordinator, on which the process kills itself where TOY_DIE says: "before-keys",
// "before-shares", "before-upload", "after-upload", "before-endorsement", "before-unmask"; or holds
// its unmasking shares back for TOY_UNMASK_DELAY_MS.
std::unique_ptr<CoordinatorLink> MakeFrail(std::unique_ptr<CoordinatorLink> link);

}  // namespace rivulet
