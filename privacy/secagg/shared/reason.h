#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "common/status.h"

namespace rivulet::secagg {

// Why a side gave an attempt up: an Abort message, a metric label. The numbers are on the wire:
// never reuse one.
enum class Reason : uint8_t {
  kPolicy = 1,            // below what the owner of the data allows
  kParams = 2,            // parameters that contradict each other, or an earlier message
  kModelMismatch = 3,     // relative to another global model
  kRosterSelf = 4,        // own entry missing, altered or twice
  kRosterSignature = 5,   // a signature or a certificate that does not hold
  kRosterDuplicate = 6,   // not ascending, a key or a client twice, a second roster
  kRosterSmall = 7,       // too few members, organisations or honest inputs
  kGraph = 8,             // graph, threshold or quorum are not those of the table
  kNonce = 9,             // a nonce that was not committed to, or too many missing
  kShareOpen = 10,        // too few shares opened
  kU2 = 11,               // set of sharers: self missing, or changed
  kU3 = 12,               // set of survivors: self missing, too small, no subset of U2
  kQuorum = 13,           // endorsements missing, repeated or of something else
  kSecondU3 = 14,         // another set was endorsed before
  kAlreadyRevealed = 15,  // shares of this round were given before
  kDeadline = 16,         // too few came in time
  kLowOrder = 17,         // a public key of small order
  kRange = 18,            // a sum outside what honest clients can reach
  kChecksum = 19,         // the sum does not satisfy its checksum equations
  kReconstruct = 20,      // shares that give no secret
  kGroup = 21,            // a roster with a member of another group than was drawn
};

// "ROSTER_SELF"
std::string_view NameOf(Reason reason);
// The reason of a number from the wire.
std::optional<Reason> ReasonFrom(uint8_t number);

// "ROSTER_SELF: message". The status code follows from the reason; ReasonOf reads it back.
absl::Status RefuseFor(Reason reason, std::string_view message);
// The reason an error carries, also after Annotate.
std::optional<Reason> ReasonOf(const absl::Status& status);

}  // namespace rivulet::secagg
