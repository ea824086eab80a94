#pragma once

#include "client/agent/policy.h"
#include "client/session/session.h"

namespace rivulet {

// Whether a task may be begun at all, from what it says of itself. Errors: those of
// ParseJobDocument, Policy::Check and JobModelOf; InvalidArgument when a task of a masked job comes
// without masks, or when the global state is larger
// than the job's tensors, so that it need not be fetched.
absl::Status CheckTask(const Policy& policy, const Assignment& task);

}  // namespace rivulet
