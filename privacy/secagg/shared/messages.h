#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/status.h"
#include "privacy/secagg/shared/draw.h"
#include "privacy/secagg/shared/index_set.h"
#include "privacy/secagg/shared/params.h"
#include "privacy/secagg/shared/reason.h"
#include "privacy/secagg/shared/transcript.h"

// What client and server send each other. The wire carries the bytes as they are; each begins with
// one byte of kind and 32 bytes of sid0 (Parameters have none) or sid, or of the names of a draw
// (draw.h), all fixed layouts, little endian. Decoding accepts exactly what encoding writes.
// Nothing received is ever hashed or signed: both sides rebuild the canonical bytes from their own
// view.
namespace rivulet::secagg {

enum class MessageKind : uint8_t {
  kParameters = 1,
  kAdvertisement = 2,
  kRoster = 3,
  kReveal = 4,
  kNonces = 5,
  kShares = 6,
  kForward = 7,
  kMaskedHeader = 8,
  kMaskedTrailer = 9,
  kSurvivorSet = 10,
  kEndorsement = 11,
  kEndorsements = 12,
  kUnmaskRequest = 13,
  kUnmask = 14,
  kAbort = 15,
  kCommitment = 16,
  kPool = 17,
};

// Server to client: what the attempt is about.
struct Parameters {
  Params params;
};

// Client to server.
struct Advertisement {
  Bytes32 sid0{};
  RosterEntry entry;
};

// Server to client: members ascending by fingerprint.
struct Roster {
  Bytes32 sid0{};
  GraphRule rule;  // `corrupt` does not travel
  std::vector<RosterEntry> entries;
};

// Client to server, ring only; in a draw, whose name is its sid then.
struct Reveal {
  Bytes32 sid{};
  Bytes32 nonce{};
};

// Server to client, ring only: by index, nullopt = did not reveal. In a draw: of all.
struct Nonces {
  Bytes32 sid{};
  std::vector<std::optional<Bytes32>> nonces;
};

// iv[12] || AES-256-GCM of 74 bytes || tag[16].
inline constexpr size_t kSharePlainBytes = 74;
inline constexpr size_t kSealedShareBytes = 12 + kSharePlainBytes + 16;
using SealedShare = std::array<uint8_t, kSealedShareBytes>;
struct AddressedShare {
  uint32_t peer = 0;  // receiver in Shares, sender in Forward
  SealedShare sealed{};
};

// Client to server: one for every neighbour, ascending.
struct Shares {
  Bytes32 sid{};
  std::vector<AddressedShare> shares;
};

// Server to client: those of the client's neighbours in U2, ascending.
struct Forward {
  Bytes32 sid{};
  U2Set u2;
  std::vector<AddressedShare> shares;
};

// Client to server, before and behind the packed vector.
struct MaskedHeader {
  Bytes32 sid{};
  uint32_t index = 0;
  uint64_t packed_bytes = 0;
};
struct MaskedTrailer {
  Bytes32 sid{};
  uint64_t packed_bytes = 0;
  Bytes32 packed_sha256{};
  Signature signature{};  // over UploadMessage
  FailedSet failed;       // whose ciphertext did not open
};

// Server to client, mode 1.
struct SurvivorSet {
  Bytes32 sid{};
  U2Set u2;
  U3Set u3;
};
// Client to server: over EndorsementMessage.
struct Endorsement {
  Bytes32 sid{};
  Signature signature{};
};
struct Endorser {
  uint32_t index = 0;
  Signature signature{};
};
// Server to client; asks for Unmask.
struct Endorsements {
  Bytes32 sid{};
  std::vector<Endorser> endorsers;
};
// Server to client in mode 0: asks for Unmask of these sets.
struct UnmaskRequest {
  Bytes32 sid{};
  U2Set u2;
  U3Set u3;
};

enum class ShareKind : uint8_t { kSelfSeed = 0, kMaskSecret = 1 };  // of b_v, of s_v: never both
struct OwnedShare {
  uint32_t owner = 0;
  ShareKind kind = ShareKind::kSelfSeed;
  Secret32 value;
};
// Client to server, ascending by owner.
struct Unmask {
  Bytes32 sid{};
  std::vector<OwnedShare> shares;
};

// Either way.
struct Abort {
  Bytes32 id{};  // sid, or sid0 while there is none; in a draw the name of its pool
  Reason reason = Reason::kDeadline;
};

// Client to server, before keys: what the draw of the groups binds it to.
struct Commitment {
  Bytes32 pool{};
  PoolEntry entry;
};

// Server to client: members ascending by fingerprint.
struct Pool {
  Bytes32 pool{};
  std::vector<PoolEntry> entries;
};

std::string Encode(const Parameters& message);
std::string Encode(const Advertisement& message);
std::string Encode(const Roster& message);
std::string Encode(const Reveal& message);
std::string Encode(const Nonces& message);
std::string Encode(const Shares& message);
std::string Encode(const Forward& message);
std::string Encode(const MaskedHeader& message);
std::string Encode(const MaskedTrailer& message);
std::string Encode(const SurvivorSet& message);
std::string Encode(const Endorsement& message);
std::string Encode(const Endorsements& message);
std::string Encode(const UnmaskRequest& message);
std::string Encode(const Unmask& message);
std::string Encode(const Abort& message);
std::string Encode(const Commitment& message);
std::string Encode(const Pool& message);

using Message = std::variant<Parameters, Advertisement, Roster, Reveal, Nonces, Shares, Forward,
                             MaskedHeader, MaskedTrailer, SurvivorSet, Endorsement, Endorsements,
                             UnmaskRequest, Unmask, Abort, Commitment, Pool>;

// Errors: InvalidArgument: unknown kind, a wrong length, more than kMaxMembers of anything, a
// bitmap with bits behind its end, an unknown enum value. No cryptography happens before.
absl::StatusOr<Message> DecodeMessage(std::string_view bytes);
std::string Encode(const Message& message);

// DecodeMessage, and the message is a T: InvalidArgument for another kind.
template <typename T>
absl::StatusOr<T> Decode(std::string_view bytes) {
  RV_ASSIGN_OR_RETURN(Message message, DecodeMessage(bytes));
  if (T* held = std::get_if<T>(&message)) return std::move(*held);
  return Refuse(absl::StatusCode::kInvalidArgument, "message: of another kind than expected");
}

}  // namespace rivulet::secagg
