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
// Whether it would say so of the next attempt too: a roster may have been too small because others
// were away.
bool IsLasting(secagg::Reason reason);

// What of the protocol a client gave its task up for, if any: its report begins with the reason's
// name.
std::optional<secagg::Reason> ReasonIn(const FailureRecord& failure);

// What is stored of a client that ended its part by a message of the protocol, for ReasonIn to
// read.
std::string AbortText(secagg::Reason reason);

// Whether the client refused what it was asked or shown, by its own word: its owner's policy, or
// the checks of the protocol. Not what went wrong on its side.
bool Refuses(const FailureRecord& failure);
// And would refuse the next attempt too.
bool RefusesForGood(const FailureRecord& failure);

// What became of the client, to stand behind its name: "refused: policy: job.min-clients: got 2,
// ...", "gave up: bad_data: ...", "was left out: sent no keys within 60 s".
std::string PredicateOf(const FailureRecord& failure);

}  // namespace rivulet
