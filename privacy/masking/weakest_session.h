#pragma once

#include "common/status.h"
#include "privacy/dp/distributed.h"
#include "privacy/secagg/shared/params.h"

namespace rivulet {

// Of the sessions that `params` allows, the one that guarantees the fewest honest shares of noise:
// nobody knows before the roster is fixed how many will come. A ring vouches for far fewer than a
// complete graph, and a small one not always for fewer than a large one, so every size is asked.
// Errors: those of Params::RuleOf and SessionShape::Shares.
absl::StatusOr<SessionShape> WeakestSession(const secagg::Params& params);

}  // namespace rivulet
