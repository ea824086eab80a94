#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "privacy/crypto/x25519.h"
#include "privacy/secagg/client/client_session.h"
#include "privacy/secagg/shared/topology.h"

// Inside the client: what a session knows, and its form on disk.
namespace rivulet::secagg {

// A client's shares of one owner's two secrets. Of a peer it gives away one of them at most.
struct HeldShares {
  Secret32 mask_secret;
  Secret32 self_seed;
};

struct ClientState {
  ClientSession::Phase phase = ClientSession::Phase::kNew;
  absl::Status refusal;  // not OK: final
  bool refused_by_server = false;

  Params params;
  Bytes32 sid0{};
  X25519Pair channel;
  X25519Pair mask;
  Secret32 self_seed;
  Bytes32 nonce{};
  std::string advertisement;   // sent, as all texts below
  std::vector<Bytes32> group;  // as LocalRound's

  Roster roster;
  std::vector<Bytes32> public_keys;  // of the members, Ed25519
  Bytes32 sid{};
  uint32_t self = 0;
  Nonces nonces;  // ring
  Topology topology;
  std::string reveal;
  std::string shares;
  std::map<uint32_t, HeldShares> held;  // by owner, itself included

  Bytes32 forward_hash{};
  U2Set u2;
  FailedSet failed;
  std::string trailer;
  U3Set u3;
  std::string endorsement;
  std::string unmask;

  std::map<uint32_t, ChannelKeys> channel_keys;  // by neighbour, until their shares are open
  std::map<uint32_t, Secret32> pair_seeds;       // by neighbour

  SessionView view() const { return {.sid0 = sid0, .sid = sid, .entries = roster.entries}; }
  bool has_roster() const { return !roster.entries.empty(); }
  // Fixes what follows from roster and nonces: sid, own index, topology.
  void Place(const Bytes32& fingerprint);
  // Everything that could open an input, wiped.
  void Wipe();
};

// Errors without a Reason: the session stays as it was.
absl::Status OutOfOrder(std::string_view message);
absl::Status OfAnotherSession(std::string_view message);

// The key of `revealed`: (job, round).
std::string RoundKey(const Params& params);
// (job, round, attempt)
std::string AttemptKey(const Params& params);
// One row for ever: where another value came under the key before, the reason is `otherwise`.
absl::Status RecordOnce(RoundLedger& ledger, LedgerTable table, std::string_view key,
                        std::string_view value, Reason otherwise, std::string_view what);
// Reason ALREADY_REVEALED for a round that this client gave shares in.
absl::Status NotAnswered(RoundLedger& ledger, const Params& params);

std::string SerialiseState(const ClientState& state);
// InvalidArgument for bytes that SerialiseState did not write for the client of `fingerprint`.
absl::StatusOr<ClientState> ParseState(std::string_view bytes, const Bytes32& fingerprint);

// Whom a signed entry is of: by the client's own trust store, and not one of `clients`, which it
// joins. `at`: for messages. Reasons: ROSTER_SIGNATURE, ROSTER_DUPLICATE.
absl::StatusOr<MemberCertificate> CheckMember(const ClientContext& context, size_t at,
                                              const Bytes32& fingerprint, std::string_view message,
                                              const Signature& signature,
                                              std::set<std::string>& clients);

// Nobody but members of `group`, where there is one. Reason: GROUP.
absl::Status CheckGroup(const std::vector<Bytes32>& group, const Roster& roster);

// The checks of a roster, of the protocol's section 6.2: the members' public keys by index.
// `advertised` is the own entry. Reasons: ROSTER_*, GRAPH.
absl::StatusOr<std::vector<Bytes32>> CheckRoster(const ClientContext& context, const Params& params,
                                                 const RosterEntry& advertised,
                                                 const Roster& roster);

}  // namespace rivulet::secagg
