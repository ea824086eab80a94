#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"
#include "privacy/crypto/ed25519.h"
#include "privacy/crypto/secret.h"
#include "privacy/crypto/x25519.h"
#include "privacy/secagg/shared/graph.h"
#include "privacy/secagg/shared/index_set.h"

// Everything that is hashed, signed, used as additional data or as HKDF info: one function each, so
// that client and server cannot build two versions. Domain strings come first, through LP.
namespace rivulet::secagg {

// One client in a roster: what it advertised, 224 bytes.
struct RosterEntry {
  Bytes32 fingerprint{};
  Bytes32 channel_key{};  // c_pk, X25519
  Bytes32 mask_key{};     // s_pk, X25519
  Bytes32 nonce_commitment{};
  Bytes32 seed_commitment{};  // of b_u
  Signature signature{};      // over AdvertisementMessage
  bool operator==(const RosterEntry&) const = default;
};
inline constexpr size_t kRosterEntryBytes = 224;

std::string EntryBytes(const RosterEntry& entry);

// R: the members in the order of their indices, with graph, threshold and quorum.
std::string RosterBytes(const GraphRule& rule, std::span<const RosterEntry> entries);
// sid = H(LP("rvl1/session") || sid0 || H(R)).
Bytes32 SessionId(const Bytes32& sid0, std::string_view roster_bytes);

Bytes32 NonceCommitment(const Bytes32& sid0, const Bytes32& fingerprint, const Bytes32& nonce);
Bytes32 SeedCommitment(const Bytes32& sid0, const Bytes32& fingerprint, const Secret32& seed);

// What is signed.
std::string AdvertisementMessage(const Bytes32& sid0, const RosterEntry& entry);
std::string UploadMessage(const Bytes32& sid, uint32_t index, uint64_t packed_bytes,
                          const Bytes32& packed_sha256);
std::string EndorsementMessage(const Bytes32& sid, const U2Set& u2, const U3Set& u3);

std::string ShareAad(const Bytes32& sid, uint32_t sender, uint32_t receiver);

// HKDF infos.
std::string ChannelInfo(uint32_t sender, uint32_t receiver, const Bytes32& sender_key,
                        const Bytes32& receiver_key);
// The same for (u, v) and (v, u).
std::string PairMaskInfo(uint32_t u, uint32_t v, const Bytes32& u_key, const Bytes32& v_key);
std::string SelfMaskInfo(uint32_t index);

// A session's identifier with its members: what key derivation needs to know.
struct SessionView {
  Bytes32 sid0{};
  Bytes32 sid{};
  std::span<const RosterEntry> entries;
};

// The AES-256-GCM keys between a client and one neighbour, one of each direction.
struct ChannelKeys {
  Secret32 outgoing;  // K_{self->peer}
  Secret32 incoming;  // K_{peer->self}
};
// From the channel secret of `self`. InvalidArgument: the peer's key is of low order.
absl::StatusOr<ChannelKeys> ChannelKeysOf(const SessionView& session, const X25519Key& own,
                                          uint32_t self, uint32_t peer);
// seed_uv, from the mask secret of u or from that of v. InvalidArgument as above.
absl::StatusOr<Secret32> PairSeed(const SessionView& session, const X25519Key& own, uint32_t self,
                                  uint32_t peer);
// self_u of b_u.
Secret32 SelfMaskSeed(const Bytes32& sid, const Secret32& self_seed, uint32_t index);
// The graph key of the nonces that were revealed; a member without one has nullopt.
Secret32 GraphKey(const Bytes32& sid, std::span<const std::optional<Bytes32>> nonces);

// A stream that all parties know: "rvl1/rot" of rotations, "rvl1/zo" of directions.
Secret32 PublicStream(const Bytes32& sid0, const Bytes32& sid, std::string_view label);
Secret32 ChecksumStream(const Bytes32& sid0, const Bytes32& sid, uint32_t row);

}  // namespace rivulet::secagg
