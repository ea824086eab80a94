#pragma once

#include <string>
#include <vector>

#include "common/status.h"

namespace rivulet {

// What `rivulet` itself understands before a verb.
struct OwnWords {
  std::vector<std::string> verbs;
  std::vector<std::string> options_with_value;  // "--format"
};

// `rivulet X ARGS` for X in coordinator, client, simulate, model becomes `rivulet-X ARGS`: beside
// the running program, then in /usr/libexec/rivulet. Options before X go behind ARGS, and `rivulet
// help X ARGS` is `rivulet-X ARGS --help`. Any other first word that is no verb of our own is
// looked for on PATH. Returns only when X is ours (OK) or nothing could be started: NotFound, exit
// 2 with the nearest name, or exit 1 when one of the four is not installed.
absl::Status Dispatch(int argc, char** argv, const OwnWords& own);

}  // namespace rivulet
