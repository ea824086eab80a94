#include "privacy/secagg/server/server_state.h"

#include <algorithm>

#include "privacy/crypto/x25519.h"
#include "privacy/secagg/shared/bytes.h"

namespace rivulet::secagg {
namespace {

using Phase = ServerSession::Phase;

constexpr uint8_t kServerStateVersion = 1;

absl::Status NoServerState() {
  return Refuse(absl::StatusCode::kInvalidArgument, "state: not one of a server session");
}

template <typename T>
void PutOptional(ByteWriter& out, const std::optional<T>& message) {
  out.Lp(message.has_value() ? Encode(*message) : "");
}

template <typename T>
std::optional<T> TakeOptional(ByteReader& in) {
  const std::string_view bytes = in.Lp();
  if (bytes.empty()) return std::nullopt;
  auto message = Decode<T>(bytes);
  if (!message.ok()) in.Fail();
  return message.ok() ? std::optional<T>(*std::move(message)) : std::nullopt;
}

void PutMember(ByteWriter& out, const ServerMember& member) {
  const MemberCertificate& certificate = member.certificate;
  out.Lp(certificate.client_id).Lp(certificate.organisation);
  out.Raw(certificate.fingerprint).Raw(certificate.public_key);
  out.Lp(Encode(member.advertisement));
  PutOptional(out, member.reveal);
  PutOptional(out, member.shares);
  PutOptional(out, member.masked);
  PutOptional(out, member.endorsement);
  PutOptional(out, member.unmask);
}

ServerMember TakeMember(ByteReader& in) {
  ServerMember member;
  member.certificate.client_id = in.Lp();
  member.certificate.organisation = in.Lp();
  member.certificate.fingerprint = in.Array<32>();
  member.certificate.public_key = in.Array<32>();
  const auto advertisement = TakeOptional<Advertisement>(in);
  if (advertisement.has_value()) {
    member.advertisement = *advertisement;
  } else {
    in.Fail();
  }
  member.reveal = TakeOptional<Reveal>(in);
  member.shares = TakeOptional<Shares>(in);
  member.masked = TakeOptional<MaskedTrailer>(in);
  member.endorsement = TakeOptional<Endorsement>(in);
  member.unmask = TakeOptional<Unmask>(in);
  return member;
}

template <typename Set>
Set TakeIndexSet(ByteReader& in, uint32_t n) {
  Set set;
  const bool fixed = in.U8() != 0;
  if (fixed && !set.Assign(n, in.Raw(Set::BytesOf(n))).ok()) in.Fail();
  return set;
}

void PutIndexSet(ByteWriter& out, const IndexBits& set) { out.U8(set.n() != 0).Raw(set.bytes()); }

// Shares of a member for exactly its neighbours.
bool AreForNeighbours(const std::optional<Shares>& shares,
                      const std::vector<uint32_t>& neighbours) {
  return shares.has_value() &&
         std::ranges::equal(neighbours, shares->shares, {}, {}, &AddressedShare::peer);
}

// The sets have what their members are in them for.
bool HaveSent(const ServerState& state) {
  for (const uint32_t member : state.u2.Indices()) {
    if (!AreForNeighbours(state.members[member].shares, state.topology.NeighboursOf(member)))
      return false;
  }
  for (const uint32_t member : state.u3.Indices()) {
    const auto& masked = state.members[member].masked;
    if (!state.u2.Contains(member) || !masked.has_value() || masked->failed.n() != state.n())
      return false;
  }
  return true;
}

// Unmasking shares are of survivors, each for the owners that its member serves.
bool HaveUnmasked(const ServerState& state) {
  for (uint32_t member = 0; member < state.n(); ++member) {
    const auto& unmask = state.members[member].unmask;
    if (!unmask.has_value()) continue;
    if (!state.u3.Contains(member) ||
        !std::ranges::equal(state.OwnersFor(member), unmask->shares, {}, {}, &OwnedShare::owner))
      return false;
  }
  return true;
}

// What every later step takes for granted: what a phase has behind it is there.
bool IsWhole(const ServerState& state, bool fixed) {
  const Phase phase = state.phase;
  if (state.aborted.has_value() != (phase == Phase::kAborted)) return false;
  const bool u2 = state.u2.n() != 0, u3 = state.u3.n() != 0;
  if (phase == Phase::kAborted) {
    if (!fixed && (u2 || u3)) return false;
  } else if (fixed != (phase > Phase::kAdvertise) || u2 != (phase >= Phase::kMasked) ||
             u3 != (phase >= Phase::kEndorse)) {
    return false;
  }
  return HaveSent(state) && (phase != Phase::kUnmask || HaveUnmasked(state));
}

}  // namespace

absl::Status ServerState::Ended() const {
  if (!aborted.has_value()) return absl::OkStatus();
  return RefuseFor(*aborted, "the attempt has ended");
}

absl::Status ServerState::End(Reason reason, std::string_view message) {
  return End(RefuseFor(reason, message));
}

absl::Status ServerState::End(absl::Status why) {
  phase = Phase::kAborted;
  aborted = ReasonOf(why);
  secrets.clear();
  return why;
}

absl::StatusOr<ServerMember*> ServerState::MemberOf(const Bytes32& fingerprint,
                                                    const Bytes32& session) {
  RV_RETURN_IF_ERROR(Ended());
  const auto found = index_of.find(fingerprint);
  if (found == index_of.end())
    return Refuse(absl::StatusCode::kNotFound, "message: not of a member of the roster");
  if (session != sid)
    return Refuse(absl::StatusCode::kInvalidArgument, "message: of another session");
  return &members[found->second];
}

void ServerState::FixRoster(const GraphRule& rule) {
  roster = {.sid0 = sid0, .rule = rule};
  for (uint32_t index = 0; index < n(); ++index) {
    roster.entries.push_back(members[index].advertisement.entry);
    certificates.push_back(members[index].certificate);
    index_of[members[index].certificate.fingerprint] = index;
  }
  sid = SessionId(sid0, RosterBytes(rule, roster.entries));
  arrived.assign(n(), 0);
}

Nonces ServerState::NoncesMessage() const {
  Nonces message{.sid = sid};
  for (const ServerMember& member : members) {
    message.nonces.push_back(member.reveal.has_value() ? std::optional(member.reveal->nonce)
                                                       : std::nullopt);
  }
  return message;
}

void ServerState::FixTopology() {
  topology = roster.rule.kind == kRingGraph
                 ? Topology(GraphKey(sid, NoncesMessage().nonces), n(), roster.rule.k)
                 : Topology(n());
}

uint32_t ServerState::HoldersLeft(uint32_t owner) const {
  uint32_t left = 0;
  for (const uint32_t holder : topology.SharingSetOf(owner))
    left += u3.Contains(holder) && !members[holder].masked->failed.Contains(owner);
  return left;
}

uint32_t ServerState::HoldersThere(uint32_t owner) const {
  const std::vector<uint32_t> holders = topology.SharingSetOf(owner);
  return static_cast<uint32_t>(std::count_if(
      holders.begin(), holders.end(), [this](uint32_t holder) { return u3.Contains(holder); }));
}

std::vector<uint32_t> ServerState::OwnersFor(uint32_t member) const {
  std::vector<uint32_t> owners;
  for (const uint32_t owner : topology.SharingSetOf(member)) {
    if (u2.Contains(owner) && !members[member].masked->failed.Contains(owner))
      owners.push_back(owner);
  }
  return owners;
}

void ServerState::CountShares(const Unmask& unmask) {
  for (const OwnedShare& share : unmask.shares) ++arrived[share.owner];
}

std::vector<std::vector<Share>> ServerState::CollectShares() const {
  std::vector<std::vector<Share>> out(n());
  for (uint32_t holder = 0; holder < n(); ++holder) {
    if (!members[holder].unmask.has_value()) continue;
    for (const OwnedShare& share : members[holder].unmask->shares) {
      Share& next = out[share.owner].emplace_back();
      next.x = *topology.HolderX(share.owner, holder);
      std::copy(share.value.bytes().begin(), share.value.bytes().end(), next.value.begin());
    }
  }
  return out;
}

std::string SerialiseServer(const ServerState& state) {
  ByteWriter out;
  out.U8(kServerStateVersion).U8(static_cast<uint8_t>(state.phase));
  out.U8(state.aborted.has_value() ? static_cast<uint8_t>(*state.aborted) : 0);
  out.Raw(CanonicalBytes(state.params));
  out.U32(static_cast<uint32_t>(state.allowed.size()));
  for (const std::string& client : state.allowed) out.Lp(client);
  out.U8(!state.roster.entries.empty());
  out.U32(state.n());
  for (const ServerMember& member : state.members) PutMember(out, member);
  PutIndexSet(out, state.u2);
  PutIndexSet(out, state.u3);
  return out.Take();
}

absl::StatusOr<ServerSession> ServerSession::Restore(std::string_view bytes,
                                                     const Verifier& verifier) {
  ByteReader in(bytes);
  const uint8_t version = in.U8(), phase = in.U8();
  const auto aborted = ReasonFrom(in.U8());
  const auto params = ParseParams(in.Raw(150));
  if (version != kServerStateVersion || phase < 1 || phase > 8 || !params.ok())
    return NoServerState();
  RV_RETURN_IF_ERROR(Check(*params));
  auto state = std::make_unique<ServerState>(verifier);
  state->phase = static_cast<Phase>(phase);
  state->aborted = aborted;
  state->params = *params;
  state->sid0 = Sid0(*params);
  const uint32_t allowed = in.U32();
  for (uint32_t count = 0; count < allowed && !in.failed(); ++count)
    state->allowed.insert(std::string(in.Lp()));
  const bool fixed = in.U8() != 0;
  const uint32_t n = in.U32();
  if (n > params->n_max) return NoServerState();
  for (uint32_t index = 0; index < n && !in.failed(); ++index)
    state->members.push_back(TakeMember(in));
  state->u2 = TakeIndexSet<U2Set>(in, n);
  state->u3 = TakeIndexSet<U3Set>(in, n);
  if (!in.Done()) return NoServerState();
  if (fixed) {
    RV_ASSIGN_OR_RETURN(const GraphRule rule, params->RuleOf(n));
    state->FixRoster(rule);
    if (rule.kind != kRingGraph || state->phase > Phase::kReveal) state->FixTopology();
  }
  if (!IsWhole(*state, fixed)) return NoServerState();
  if (fixed) {
    for (const ServerMember& member : state->members) {
      if (!member.unmask.has_value()) continue;
      for (const OwnedShare& share : member.unmask->shares) {
        if (share.owner >= n) return NoServerState();
      }
      state->CountShares(*member.unmask);
    }
  }
  return ServerSession(std::move(state));
}

}  // namespace rivulet::secagg
