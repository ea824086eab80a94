#include "common/io/sha256.h"
#include "privacy/secagg/client/client_state.h"
#include "privacy/secagg/shared/bytes.h"

// The end of a client's attempt: which set of survivors it stands for, and the shares that follow.
namespace rivulet::secagg {
namespace {

using Phase = ClientSession::Phase;

absl::Status BadQuorum(const std::string& message) { return RefuseFor(Reason::kQuorum, message); }

}  // namespace

absl::Status ClientSession::CheckSets(const U2Set& u2, const U3Set& u3) const {
  const ClientState& state = *state_;
  if (u2 != state.u2) return RefuseFor(Reason::kU2, "U2 is not the one that masks were made for");
  if (u3.n() != u2.n()) return RefuseFor(Reason::kU3, "U3 is no set of this roster");
  uint32_t holders = 0;
  const std::vector<uint32_t> survivors = u3.Indices();
  for (const uint32_t member : survivors) {
    if (!u2.Contains(member)) return RefuseFor(Reason::kU3, "U3 is no subset of U2");
    holders += state.topology.HolderX(state.self, member).has_value();
  }
  // A set that names this client before it has sent its vector is as wrong as one without it.
  if (!u3.Contains(state.self) || state.trailer.empty())
    return RefuseFor(Reason::kU3, "this client is not among the survivors");
  if (survivors.size() < state.params.n_min) {
    return RefuseFor(Reason::kU3, "survivors: got " + std::to_string(survivors.size()) +
                                      ", want at least " + std::to_string(state.params.n_min));
  }
  if (holders < state.roster.rule.t) {
    return RefuseFor(Reason::kU3, "holders of this client's shares among the survivors: got " +
                                      std::to_string(holders) + ", want at least " +
                                      std::to_string(state.roster.rule.t));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ClientSession::Endorse(const SurvivorSet& survivors) {
  ClientState& state = *state_;
  if (state.params.mode != Mode::kMalicious || state.forward_hash == Bytes32{})
    return OutOfOrder("SurvivorSet");
  if (survivors.sid != state.sid) return OfAnotherSession("SurvivorSet");
  if (!state.endorsement.empty()) {
    if (survivors.u2 != state.u2 || survivors.u3 != state.u3)
      return RefuseFor(Reason::kSecondU3, "another set of survivors was endorsed before");
    return state.endorsement;
  }
  RV_RETURN_IF_ERROR(CheckSets(survivors.u2, survivors.u3));
  const std::string message = EndorsementMessage(state.sid, survivors.u2, survivors.u3);
  RV_RETURN_IF_ERROR(RecordOnce(LedgerTable::kEndorsed, ViewOf(state.sid),
                                ViewOf(Sha256Of(message)), Reason::kSecondU3, "survivors"));
  state.u3 = survivors.u3;
  state.endorsement =
      Encode(Endorsement{.sid = state.sid, .signature = context_.signer.Sign(message)});
  state.phase = Phase::kEndorsed;
  return state.endorsement;
}

absl::Status ClientSession::CheckQuorum(const Endorsements& endorsements) const {
  const ClientState& state = *state_;
  // Its own bytes: an endorsement of other sets, or of another session, does not verify.
  const std::string message = EndorsementMessage(state.sid, state.u2, state.u3);
  IndexBits seen(state.u3.n());
  for (const Endorser& endorser : endorsements.endorsers) {
    const std::string who = "endorser " + std::to_string(endorser.index);
    if (!state.u3.Contains(endorser.index)) return BadQuorum(who + ": not a survivor");
    if (seen.Contains(endorser.index)) return BadQuorum(who + ": twice");
    seen.Insert(endorser.index);
    if (!context_.verifier.Verify(state.public_keys[endorser.index], message, endorser.signature))
      return BadQuorum(who + ": the signature is not of this set");
  }
  if (seen.Count() < state.roster.rule.quorum) {
    return BadQuorum("endorsements: got " + std::to_string(seen.Count()) + ", want at least " +
                     std::to_string(state.roster.rule.quorum));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ClientSession::AnswerQuorum(const Endorsements& endorsements) {
  ClientState& state = *state_;
  if (state.params.mode != Mode::kMalicious || state.forward_hash == Bytes32{})
    return OutOfOrder("Endorsements");
  if (endorsements.sid != state.sid) return OfAnotherSession("Endorsements");
  if (state.phase == Phase::kUnmasked) return state.unmask;
  if (state.phase != Phase::kEndorsed)
    return BadQuorum("endorsements of a set that this client has not endorsed");
  RV_RETURN_IF_ERROR(CheckQuorum(endorsements));
  return RevealShares();
}

absl::StatusOr<std::string> ClientSession::AnswerRequest(const UnmaskRequest& request) {
  ClientState& state = *state_;
  if (state.forward_hash == Bytes32{}) return OutOfOrder("UnmaskRequest");
  if (request.sid != state.sid) return OfAnotherSession("UnmaskRequest");
  if (state.phase == Phase::kUnmasked) {
    if (request.u2 == state.u2 && request.u3 == state.u3) return state.unmask;
    return RefuseFor(Reason::kAlreadyRevealed, "shares were given for another set of survivors");
  }
  if (state.params.mode == Mode::kMalicious)
    return BadQuorum("shares were asked for without endorsements");
  RV_RETURN_IF_ERROR(CheckSets(request.u2, request.u3));
  state.u3 = request.u3;
  return RevealShares();
}

// Rule 1: at most once per (job, round), over all attempts. The row is written before a byte
// leaves.
absl::StatusOr<std::string> ClientSession::RevealShares() {
  ClientState& state = *state_;
  Unmask message{.sid = state.sid};
  for (const auto& [owner, shares] : state.held) {
    if (!state.u2.Contains(owner)) continue;
    const bool survived = state.u3.Contains(owner);
    message.shares.push_back({.owner = owner,
                              .kind = survived ? ShareKind::kSelfSeed : ShareKind::kMaskSecret,
                              .value = survived ? shares.self_seed : shares.mask_secret});
  }
  std::string bytes = Encode(message);
  const Bytes32 set = Sha256Of(EndorsementMessage(state.sid, state.u2, state.u3));
  RV_RETURN_IF_ERROR(RecordOnce(LedgerTable::kRevealed, RoundKey(state.params),
                                ByteWriter().Raw(state.sid).Raw(set).Raw(bytes).Take(),
                                Reason::kAlreadyRevealed, "shares of this round"));
  state.unmask = std::move(bytes);
  state.Wipe();
  state.phase = Phase::kUnmasked;
  return state.unmask;
}

}  // namespace rivulet::secagg
