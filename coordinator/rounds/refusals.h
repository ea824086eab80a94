#pragma once

#include <optional>
#include <string>

#include "coordinator/storage/state_store.h"
#include "privacy/secagg/shared/reason.h"

namespace rivulet {

// Codes of failures that are the coordinator's own word: no report of a client has them.
inline constexpr char kExcluded[] = "excluded";  // from the job, by what it did under masks
inline constexpr char kLeftOut[] = "masking";    // the others went on without it

// What an honest client says of a coordinator that it does not trust.
bool IsRefusal(secagg::Reason reason);

// What of the protocol a client gave its task up for, if any: its report begins with the reason's
// name.
std::optional<secagg::Reason> ReasonIn(const FailureRecord& failure);

// Whether the client refused what it was asked or shown, by its own word: its owner's policy, or
// the checks of the protocol. Not what went wrong on its side.
bool Refuses(const FailureRecord& failure);

// What became of the client, to stand behind its name: "refused: policy: job.min-clients: got 2,
// ...", "gave up: bad_data: ...", "was left out: sent no keys within 60 s".
std::string PredicateOf(const FailureRecord& failure);

}  // namespace rivulet
