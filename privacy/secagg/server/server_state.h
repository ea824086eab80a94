#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "privacy/secagg/server/server_session.h"
#include "privacy/secagg/shared/mask_generator.h"
#include "privacy/secagg/shared/shamir.h"
#include "privacy/secagg/shared/topology.h"

// Inside the server: what a session knows, and its form on disk.
namespace rivulet::secagg {

// What came from one client.
struct ServerMember {
  MemberCertificate certificate;
  Advertisement advertisement;
  std::optional<Reveal> reveal;
  std::optional<Shares> shares;
  std::optional<MaskedTrailer> masked;
  std::optional<Endorsement> endorsement;
  std::optional<Unmask> unmask;
};

struct ServerState {
  using Phase = ServerSession::Phase;
  explicit ServerState(const Verifier& checks) : verifier(&checks) {}

  const Verifier* verifier;
  Phase phase = Phase::kAdvertise;
  std::optional<Reason> aborted;
  Params params;
  Bytes32 sid0{};
  std::set<std::string> allowed;

  std::vector<ServerMember> members;  // as they came; by index once the roster is fixed
  std::map<Bytes32, uint32_t> index_of;
  Roster roster;
  std::vector<MemberCertificate> certificates;
  Bytes32 sid{};
  Topology topology;
  U2Set u2;
  U3Set u3;

  // Shares that arrived of every member's needed secret. Not on disk.
  std::vector<uint32_t> arrived;
  std::map<uint32_t, Secret32> secrets;  // b_v of survivors, s_v of the others in U2
  Blame blame;

  uint32_t n() const { return static_cast<uint32_t>(members.size()); }
  SessionView view() const { return {.sid0 = sid0, .sid = sid, .entries = roster.entries}; }

  absl::Status Ended() const;  // the abort, if there was one
  absl::Status End(Reason reason, std::string_view message);
  absl::Status End(absl::Status why);  // which has a Reason
  absl::StatusOr<ServerMember*> MemberOf(const Bytes32& fingerprint, const Bytes32& sid);
  // Fixes what follows from the members: order, roster, sid; and from the nonces: the topology.
  void FixRoster(const GraphRule& rule);
  Nonces NoncesMessage() const;
  void FixTopology();
  // Survivors who hold a share of `owner` and could open it.
  uint32_t HoldersLeft(uint32_t owner) const;
  uint32_t HoldersThere(uint32_t owner) const;  // survivors who were sent one, opened or not
  bool CheckHolders() const;                    // at least the threshold for every member of U2
  // The owners whose share `member` must give, ascending.
  std::vector<uint32_t> OwnersFor(uint32_t member) const;
  void CountShares(const Unmask& unmask);
  // By owner, ascending by x.
  std::vector<std::vector<Share>> CollectShares() const;
  absl::StatusOr<std::vector<Mask>> MasksToRemove(unsigned threads) const;
  absl::Status CheckSum(const RingVector& sum) const;
};

std::string SerialiseServer(const ServerState& state);

}  // namespace rivulet::secagg
