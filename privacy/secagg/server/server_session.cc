#include "privacy/secagg/server/server_session.h"

#include <algorithm>

#include "common/io/sha256.h"
#include "privacy/crypto/x25519.h"
#include "privacy/secagg/server/server_state.h"
#include "privacy/secagg/shared/bytes.h"
#include "privacy/secagg/shared/packing.h"

namespace rivulet::secagg {
namespace {

using Phase = ServerSession::Phase;

absl::Status Invalid(const std::string& message) {
  return Refuse(absl::StatusCode::kInvalidArgument, message);
}

absl::Status TooLate(std::string_view what) {
  return RefuseFor(Reason::kDeadline, std::string(what) + ": the phase is over");
}

absl::Status TooEarly(std::string_view what) {
  return Refuse(absl::StatusCode::kFailedPrecondition, std::string(what) + ": out of order");
}

// Whether a message that may come in `wanted` only comes at the right time.
absl::Status InPhase(std::string_view what, Phase now, Phase wanted) {
  if (now == wanted) return absl::OkStatus();
  return now > wanted ? TooLate(what) : TooEarly(what);
}

// The same message again is fine at any time, another one never.
template <typename T>
std::optional<absl::Status> Repeated(std::string_view what, const std::optional<T>& stored,
                                     const T& message) {
  if (!stored.has_value()) return std::nullopt;
  if (Encode(*stored) == Encode(message)) return absl::OkStatus();
  return Refuse(absl::StatusCode::kAlreadyExists, std::string(what) + ": another one was accepted");
}

template <typename T>
uint32_t CountOf(const std::vector<ServerMember>& members, std::optional<T> ServerMember::*slot) {
  return static_cast<uint32_t>(std::count_if(members.begin(), members.end(),
                                             [&](const auto& m) { return (m.*slot).has_value(); }));
}

// A key that gives everybody the same shared secret.
bool IsLowOrder(const Bytes32& key) {
  static const X25519Key kAny(Secret32(Bytes32{8}));
  return !kAny.Shared(key).ok();
}

// One entry for a client, whatever its certificates; no public key twice.
absl::Status FitsBeside(const std::vector<ServerMember>& members, const MemberCertificate& peer,
                        const RosterEntry& entry) {
  if (entry.channel_key == entry.mask_key)
    return RefuseFor(Reason::kRosterDuplicate, "advertisement: one key for two purposes");
  for (const ServerMember& member : members) {
    if (member.certificate.client_id == peer.client_id) {
      return Refuse(absl::StatusCode::kAlreadyExists,
                    "advertisement: this client advertised with another certificate");
    }
    for (const Bytes32& key :
         {member.advertisement.entry.channel_key, member.advertisement.entry.mask_key}) {
      if (key == entry.channel_key || key == entry.mask_key)
        return RefuseFor(Reason::kRosterDuplicate, "advertisement: a public key of another client");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckMasked(const Params& params, std::string_view packed,
                         const MaskedTrailer& trailer) {
  if (packed.size() != params.packed_bytes() || trailer.packed_bytes != packed.size()) {
    return Invalid("upload: got " + std::to_string(packed.size()) + " bytes, announced " +
                   std::to_string(trailer.packed_bytes) + ", want " +
                   std::to_string(params.packed_bytes()));
  }
  RV_RETURN_IF_ERROR(CheckPacked(packed, params.length(), params.b));
  if (Sha256Of(packed) != trailer.packed_sha256) return Invalid("upload: its SHA-256 differs");
  return absl::OkStatus();
}

ServerSession::ServerSession(std::unique_ptr<ServerState> state) : state_(std::move(state)) {}
ServerSession::~ServerSession() = default;
ServerSession::ServerSession(ServerSession&&) noexcept = default;
ServerSession& ServerSession::operator=(ServerSession&&) noexcept = default;

absl::StatusOr<ServerSession> ServerSession::Start(const Params& params,
                                                   std::set<std::string> allowed,
                                                   const Verifier& verifier) {
  RV_RETURN_IF_ERROR(Check(params));
  auto state = std::make_unique<ServerState>(verifier);
  state->params = params;
  state->sid0 = Sid0(params);
  state->allowed = std::move(allowed);
  return ServerSession(std::move(state));
}

std::string ServerSession::ParametersMessage() const {
  return Encode(Parameters{.params = state_->params});
}

absl::Status ServerSession::OnAdvertisement(const MemberCertificate& peer,
                                            const Advertisement& message) {
  ServerState& state = *state_;
  RV_RETURN_IF_ERROR(state.Ended());
  const RosterEntry& entry = message.entry;
  if (message.sid0 != state.sid0) return Invalid("advertisement: of other parameters");
  if (entry.fingerprint != peer.fingerprint)
    return Invalid("advertisement: not the certificate of its connection");
  for (const ServerMember& member : state.members) {
    if (member.certificate.fingerprint == peer.fingerprint)
      return *Repeated("advertisement", std::optional(member.advertisement), message);
  }
  RV_RETURN_IF_ERROR(InPhase("advertisement", state.phase, Phase::kAdvertise));
  if (!state.allowed.contains(peer.client_id)) {
    return Refuse(absl::StatusCode::kPermissionDenied,
                  "advertisement: this client is no member of the round");
  }
  RV_RETURN_IF_ERROR(FitsBeside(state.members, peer, entry));
  if (state.n() >= state.params.n_max)
    return Refuse(absl::StatusCode::kResourceExhausted, "advertisement: the roster is full");
  if (IsLowOrder(entry.channel_key) || IsLowOrder(entry.mask_key))
    return RefuseFor(Reason::kLowOrder, "advertisement: a public key of low order");
  if (!state.verifier->Verify(peer.public_key, AdvertisementMessage(state.sid0, entry),
                              entry.signature))
    return RefuseFor(Reason::kRosterSignature, "advertisement: the signature does not hold");
  state.members.push_back({.certificate = peer, .advertisement = message});
  return absl::OkStatus();
}

uint32_t ServerSession::advertised() const { return state_->n(); }

absl::StatusOr<std::string> ServerSession::CloseAdvertise() {
  ServerState& state = *state_;
  RV_RETURN_IF_ERROR(state.Ended());
  if (state.phase != Phase::kAdvertise) return Encode(state.roster);
  const uint32_t n = state.n();
  if (n < state.params.roster_min()) {
    return state.End(Reason::kRosterSmall, "members: got " + std::to_string(n) +
                                               ", want at least " +
                                               std::to_string(state.params.roster_min()));
  }
  const auto rule = state.params.RuleOf(n);
  if (!rule.ok()) return state.End(rule.status());
  std::sort(state.members.begin(), state.members.end(), [](const auto& a, const auto& b) {
    return a.certificate.fingerprint < b.certificate.fingerprint;
  });
  state.FixRoster(*rule);
  if (rule->kind == kRingGraph) {
    state.phase = Phase::kReveal;
  } else {
    state.FixTopology();
    state.phase = Phase::kShare;
  }
  return Encode(state.roster);
}

absl::Status ServerSession::OnReveal(const Bytes32& fingerprint, const Reveal& message) {
  RV_ASSIGN_OR_RETURN(ServerMember* const member, state_->MemberOf(fingerprint, message.sid));
  if (const auto known = Repeated("reveal", member->reveal, message)) return *known;
  RV_RETURN_IF_ERROR(InPhase("reveal", state_->phase, Phase::kReveal));
  if (NonceCommitment(state_->sid0, fingerprint, message.nonce) !=
      member->advertisement.entry.nonce_commitment)
    return RefuseFor(Reason::kNonce, "reveal: not the nonce committed to");
  member->reveal = message;
  return absl::OkStatus();
}

absl::StatusOr<std::string> ServerSession::CloseReveal() {
  ServerState& state = *state_;
  RV_RETURN_IF_ERROR(state.Ended());
  if (state.phase < Phase::kReveal || state.roster.rule.kind != kRingGraph)
    return TooEarly("nonces");
  if (state.phase == Phase::kReveal) {
    const uint32_t missing = state.n() - CountOf(state.members, &ServerMember::reveal);
    if (missing > MaxMissingNonces(state.n()))
      return state.End(Reason::kNonce, std::to_string(missing) + " nonces are missing");
    state.FixTopology();
    state.phase = Phase::kShare;
  }
  return Encode(state.NoncesMessage());
}

absl::Status ServerSession::OnShares(const Bytes32& fingerprint, const Shares& message) {
  ServerState& state = *state_;
  RV_ASSIGN_OR_RETURN(ServerMember* const member, state.MemberOf(fingerprint, message.sid));
  if (const auto known = Repeated("shares", member->shares, message)) return *known;
  RV_RETURN_IF_ERROR(InPhase("shares", state.phase, Phase::kShare));
  if (state.roster.rule.kind == kRingGraph && !member->reveal.has_value())
    return TooLate("shares of a member without a nonce");
  const auto neighbours = state.topology.NeighboursOf(state.index_of.at(fingerprint));
  if (!std::equal(neighbours.begin(), neighbours.end(), message.shares.begin(),
                  message.shares.end(),
                  [](uint32_t peer, const AddressedShare& share) { return peer == share.peer; }))
    return Invalid("shares: not one for every neighbour, ascending");
  member->shares = message;
  return absl::OkStatus();
}

uint32_t ServerSession::shared() const { return CountOf(state_->members, &ServerMember::shares); }

absl::Status ServerSession::CloseShares() {
  ServerState& state = *state_;
  RV_RETURN_IF_ERROR(state.Ended());
  if (state.phase < Phase::kShare) return TooEarly("U2");
  if (state.phase > Phase::kShare) return absl::OkStatus();
  U2Set u2(state.n());
  for (uint32_t index = 0; index < state.n(); ++index) {
    if (state.members[index].shares.has_value()) u2.Insert(index);
  }
  if (u2.Count() < state.params.n_min) {
    return state.End(Reason::kDeadline, "sharers: got " + std::to_string(u2.Count()) +
                                            ", want at least " +
                                            std::to_string(state.params.n_min));
  }
  for (const uint32_t owner : u2.Indices()) {
    const auto holders = state.topology.SharingSetOf(owner);
    const auto left = std::count_if(holders.begin(), holders.end(),
                                    [&](uint32_t holder) { return u2.Contains(holder); });
    if (left < state.roster.rule.t)
      return state.End(Reason::kDeadline, "too few holders of somebody's shares are left");
  }
  state.u2 = u2;
  state.phase = Phase::kMasked;
  return absl::OkStatus();
}

absl::StatusOr<std::string> ServerSession::ForwardFor(const Bytes32& fingerprint) const {
  const ServerState& state = *state_;
  if (state.phase < Phase::kMasked) return TooEarly("Forward");
  const auto found = state.index_of.find(fingerprint);
  if (found == state.index_of.end() || !state.u2.Contains(found->second))
    return Refuse(absl::StatusCode::kNotFound, "Forward: not a member of U2");
  const uint32_t receiver = found->second;
  Forward message{.sid = state.sid, .u2 = state.u2};
  for (const uint32_t sender : state.topology.NeighboursOf(receiver)) {
    if (!state.u2.Contains(sender)) continue;
    const auto& shares = state.members[sender].shares->shares;
    const auto share =
        std::lower_bound(shares.begin(), shares.end(), receiver,
                         [](const AddressedShare& a, uint32_t peer) { return a.peer < peer; });
    message.shares.push_back({.peer = sender, .sealed = share->sealed});
  }
  return Encode(message);
}

absl::Status ServerSession::OnMaskedHeader(const Bytes32& fingerprint,
                                           const MaskedHeader& message) const {
  RV_RETURN_IF_ERROR(state_->MemberOf(fingerprint, message.sid).status());
  const uint32_t index = state_->index_of.at(fingerprint);
  if (message.index != index || message.packed_bytes != state_->params.packed_bytes())
    return Invalid("upload: another member's, or of another length");
  if (state_->phase < Phase::kMasked) return TooEarly("upload");
  if (!state_->u2.Contains(index)) return TooLate("upload of one who sent no shares");
  if (state_->members[index].masked.has_value()) return absl::OkStatus();
  return InPhase("upload", state_->phase, Phase::kMasked);
}

absl::Status ServerSession::OnMasked(const Bytes32& fingerprint, const MaskedTrailer& message) {
  ServerState& state = *state_;
  RV_ASSIGN_OR_RETURN(ServerMember* const member, state.MemberOf(fingerprint, message.sid));
  if (const auto known = Repeated("upload", member->masked, message)) return *known;
  RV_RETURN_IF_ERROR(InPhase("upload", state.phase, Phase::kMasked));
  const uint32_t index = state.index_of.at(fingerprint);
  if (!state.u2.Contains(index)) return TooLate("upload of one who sent no shares");
  if (message.packed_bytes != state.params.packed_bytes())
    return Invalid("upload: of another length");
  if (message.failed.n() != state.n()) return Invalid("upload: its report is of another roster");
  for (const uint32_t peer : message.failed.Indices()) {
    if (peer == index || !state.u2.Contains(peer) ||
        !state.topology.HolderX(peer, index).has_value())
      return Invalid("upload: it reports a share that it was not sent");
  }
  const std::string signed_bytes =
      UploadMessage(state.sid, index, message.packed_bytes, message.packed_sha256);
  if (!state.verifier->Verify(member->certificate.public_key, signed_bytes, message.signature))
    return RefuseFor(Reason::kRosterSignature, "upload: the signature does not hold");
  member->masked = message;
  return absl::OkStatus();
}

uint32_t ServerSession::masked() const { return CountOf(state_->members, &ServerMember::masked); }

void ServerSession::GiveUp(Reason reason) {
  if (state_->phase < Phase::kDone) (void)state_->End(reason, "given up");
}

absl::Status ServerSession::Handle(const Bytes32& fingerprint, std::string_view bytes) {
  RV_ASSIGN_OR_RETURN(const Message message, DecodeMessage(bytes));
  if (const auto* held = std::get_if<Reveal>(&message)) return OnReveal(fingerprint, *held);
  if (const auto* held = std::get_if<Shares>(&message)) return OnShares(fingerprint, *held);
  if (const auto* held = std::get_if<MaskedTrailer>(&message)) return OnMasked(fingerprint, *held);
  if (const auto* held = std::get_if<Endorsement>(&message))
    return OnEndorsement(fingerprint, *held);
  if (const auto* held = std::get_if<Unmask>(&message)) return OnUnmask(fingerprint, *held);
  return Invalid("message: not one for a server");
}

Phase ServerSession::phase() const { return state_->phase; }
std::optional<Reason> ServerSession::aborted_for() const { return state_->aborted; }
const Params& ServerSession::params() const { return state_->params; }
const Bytes32& ServerSession::sid0() const { return state_->sid0; }
const Bytes32& ServerSession::sid() const { return state_->sid; }
const GraphRule& ServerSession::rule() const { return state_->roster.rule; }
const std::vector<MemberCertificate>& ServerSession::members() const {
  return state_->certificates;
}
std::optional<uint32_t> ServerSession::IndexOf(const Bytes32& fingerprint) const {
  const auto found = state_->index_of.find(fingerprint);
  return found == state_->index_of.end() ? std::nullopt : std::optional(found->second);
}
const U2Set& ServerSession::u2() const { return state_->u2; }
const U3Set& ServerSession::u3() const { return state_->u3; }
const Blame& ServerSession::blame() const { return state_->blame; }

std::string ServerSession::AbortMessage() const {
  if (!state_->aborted.has_value()) return {};
  const bool known = !state_->roster.entries.empty();
  return Encode(Abort{.id = known ? state_->sid : state_->sid0, .reason = *state_->aborted});
}

std::string ServerSession::Serialise() const { return SerialiseServer(*state_); }

}  // namespace rivulet::secagg
