#pragma once

#include <optional>
#include <string>
#include <vector>

namespace rivulet {

// `rivulet X ARGS` for X in coordinator, client, simulate, model becomes `rivulet-X ARGS`: beside
// the running program, then in /usr/libexec/rivulet. Any other X that is no verb of our own is
// looked for on PATH. Returns only when X is ours (nullopt), or with an exit code when nothing
// could be started; then it has said why, with the nearest name.
std::optional<int> Dispatch(int argc, char** argv, const std::vector<std::string>& own_verbs);

}  // namespace rivulet
