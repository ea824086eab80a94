#include "privacy/secagg/client/client_session.h"

#include "common/io/sha256.h"
#include "privacy/secagg/client/client_state.h"
#include "privacy/secagg/shared/bytes.h"

namespace rivulet::secagg {
namespace {

using Phase = ClientSession::Phase;

Advertisement SignedAdvertisement(const ClientContext& context, const ClientState& state) {
  Advertisement message{.sid0 = state.sid0};
  RosterEntry& entry = message.entry;
  entry.fingerprint = context.self.fingerprint;
  entry.channel_key = state.channel.public_key;
  entry.mask_key = state.mask.public_key;
  entry.nonce_commitment = NonceCommitment(state.sid0, entry.fingerprint, state.nonce);
  entry.seed_commitment = SeedCommitment(state.sid0, entry.fingerprint, state.self_seed);
  entry.signature = context.signer.Sign(AdvertisementMessage(state.sid0, entry));
  return message;
}

absl::Status CheckNonces(const ClientState& state, const Nonces& nonces) {
  const auto& entries = state.roster.entries;
  if (nonces.nonces.size() != entries.size())
    return RefuseFor(Reason::kNonce, "nonces: not one place for every member");
  if (nonces.nonces[state.self] != state.nonce)
    return RefuseFor(Reason::kNonce, "own nonce is missing");
  uint32_t missing = 0;
  for (size_t index = 0; index < entries.size(); ++index) {
    const auto& nonce = nonces.nonces[index];
    if (!nonce.has_value()) {
      ++missing;
    } else if (NonceCommitment(state.sid0, entries[index].fingerprint, *nonce) !=
               entries[index].nonce_commitment) {
      return RefuseFor(Reason::kNonce, "nonce of member " + std::to_string(index) +
                                           " is not the one it committed to");
    }
  }
  if (missing > MaxMissingNonces(entries.size()))
    return RefuseFor(Reason::kNonce, std::to_string(missing) + " nonces are missing");
  return absl::OkStatus();
}

absl::Status Differs(std::string_view name) {
  return RefuseFor(Reason::kParams, std::string(name) + ": not that of this client's own view");
}

}  // namespace

ClientSession::ClientSession(ClientContext context)
    : context_(std::move(context)), state_(std::make_unique<ClientState>()) {}
ClientSession::~ClientSession() = default;
ClientSession::ClientSession(ClientSession&&) noexcept = default;

ClientSession::Phase ClientSession::phase() const { return state_->phase; }
const Params& ClientSession::params() const { return state_->params; }
const Bytes32& ClientSession::sid0() const { return state_->sid0; }
const Bytes32& ClientSession::sid() const { return state_->sid; }

absl::Status ClientSession::Usable() const { return state_->refusal; }

absl::Status ClientSession::Settle(absl::Status outcome) {
  if (ReasonOf(outcome).has_value()) {
    state_->refusal = outcome;
    state_->phase = Phase::kRefused;
    state_->Wipe();
  }
  return outcome;
}

template <typename T>
absl::StatusOr<T> ClientSession::Settle(absl::StatusOr<T> outcome) {
  if (!outcome.ok()) return Settle(outcome.status());
  return outcome;
}

// The public calls: nothing after a refusal; an error with a Reason is one.
absl::StatusOr<std::string> ClientSession::Advertise(const Params& params,
                                                     const LocalRound& local) {
  RV_RETURN_IF_ERROR(Usable());
  return Settle(StartAttempt(params, local));
}
absl::StatusOr<std::string> ClientSession::OnRoster(const Roster& roster) {
  RV_RETURN_IF_ERROR(Usable());
  return Settle(AcceptRoster(roster));
}
absl::StatusOr<std::string> ClientSession::OnNonces(const Nonces& nonces) {
  RV_RETURN_IF_ERROR(Usable());
  return Settle(AcceptNonces(nonces));
}
absl::Status ClientSession::OnForward(const Forward& forward) {
  RV_RETURN_IF_ERROR(Usable());
  return Settle(AcceptForward(forward));
}
absl::StatusOr<MaskedUpload> ClientSession::Mask(RingVector encoded) {
  RV_RETURN_IF_ERROR(Usable());
  return Settle(MaskVector(std::move(encoded)));
}
absl::StatusOr<std::string> ClientSession::OnSurvivors(const SurvivorSet& survivors) {
  RV_RETURN_IF_ERROR(Usable());
  return Settle(Endorse(survivors));
}
absl::StatusOr<std::string> ClientSession::OnEndorsements(const Endorsements& endorsements) {
  RV_RETURN_IF_ERROR(Usable());
  return Settle(AnswerQuorum(endorsements));
}
absl::StatusOr<std::string> ClientSession::OnUnmaskRequest(const UnmaskRequest& request) {
  RV_RETURN_IF_ERROR(Usable());
  return Settle(AnswerRequest(request));
}

absl::Status ClientSession::RecordOnce(LedgerTable table, std::string_view key,
                                       std::string_view value, Reason otherwise,
                                       std::string_view what) {
  return secagg::RecordOnce(context_.ledger, table, key, value, otherwise, what);
}

absl::Status ClientSession::CheckLocal(const Params& params, const LocalRound& local) const {
  if (params.job_id != local.job_id) return Differs("job_id");
  if (params.round != local.round) return Differs("round");
  if (params.config_sha256 != local.config_sha256) return Differs("config_sha256");
  if (params.d != local.d) return Differs("d");
  if (params.d_aux != local.d_aux) return Differs("d_aux");
  if (params.model_sha256 != local.model_sha256)
    return RefuseFor(Reason::kModelMismatch, "model_sha256: not that of the model held");
  return absl::OkStatus();
}

absl::StatusOr<std::string> ClientSession::StartAttempt(const Params& params,
                                                        const LocalRound& local) {
  ClientState& state = *state_;
  if (state.phase != Phase::kNew) {
    if (params == state.params) return state.advertisement;
    return RefuseFor(Reason::kParams, "this attempt was advertised with other parameters");
  }
  RV_RETURN_IF_ERROR(Check(params));
  RV_RETURN_IF_ERROR(CheckPolicy(context_.policy, params));
  RV_RETURN_IF_ERROR(CheckLocal(params, local));
  RV_RETURN_IF_ERROR(NotAnswered(context_.ledger, params));

  ClientState next;
  next.params = params;
  next.sid0 = Sid0(params);
  next.group = local.group;
  next.channel = X25519PairOf(context_.entropy.Secret());
  next.mask = X25519PairOf(context_.entropy.Secret());
  next.self_seed = context_.entropy.Secret();
  context_.entropy.Fill(next.nonce);
  next.advertisement = Encode(SignedAdvertisement(context_, next));
  next.phase = Phase::kAdvertised;
  // Fresh keys for an attempt that was advertised before would be a second advertisement.
  RV_RETURN_IF_ERROR(
      RecordOnce(LedgerTable::kAdvertised, AttemptKey(params),
                 ByteWriter().Raw(next.sid0).Raw(Sha256Of(next.advertisement)).Take(),
                 Reason::kParams, "advertisement"));
  state = std::move(next);
  return state.advertisement;
}

absl::StatusOr<std::string> ClientSession::AcceptRoster(const Roster& roster) {
  ClientState& state = *state_;
  if (state.phase == Phase::kNew) return OutOfOrder("Roster");
  if (roster.sid0 != state.sid0) return OfAnotherSession("Roster");
  if (state.has_roster()) {
    if (Encode(roster) != Encode(state.roster))
      return RefuseFor(Reason::kRosterDuplicate, "a second roster for one attempt");
    if (roster.rule.kind == kRingGraph) return state.reveal;
    return state.shares.empty() ? DealShares() : state.shares;
  }
  RV_ASSIGN_OR_RETURN(const Advertisement own, Decode<Advertisement>(state.advertisement));
  RV_RETURN_IF_ERROR(CheckGroup(state.group, roster));
  RV_ASSIGN_OR_RETURN(std::vector<Bytes32> keys,
                      CheckRoster(context_, state.params, own.entry, roster));
  RV_RETURN_IF_ERROR(RecordOnce(LedgerTable::kRoster, ViewOf(state.sid0),
                                ViewOf(Sha256Of(Encode(roster))), Reason::kRosterDuplicate,
                                "roster"));
  state.roster = roster;
  state.public_keys = std::move(keys);
  state.Place(context_.self.fingerprint);
  if (roster.rule.kind != kRingGraph) return DealShares();
  state.reveal = Encode(Reveal{.sid = state.sid, .nonce = state.nonce});
  state.phase = Phase::kRevealed;
  return state.reveal;
}

absl::StatusOr<std::string> ClientSession::AcceptNonces(const Nonces& nonces) {
  ClientState& state = *state_;
  if (!state.has_roster() || state.roster.rule.kind != kRingGraph) return OutOfOrder("Nonces");
  if (nonces.sid != state.sid) return OfAnotherSession("Nonces");
  if (!state.nonces.nonces.empty()) {
    if (nonces.nonces != state.nonces.nonces)
      return RefuseFor(Reason::kNonce, "a second list of nonces for one session");
    return state.shares.empty() ? DealShares() : state.shares;
  }
  RV_RETURN_IF_ERROR(CheckNonces(state, nonces));
  state.nonces = nonces;
  state.Place(context_.self.fingerprint);
  return DealShares();
}

std::string ClientSession::AbortMessage() const {
  const auto reason = ReasonOf(state_->refusal);
  if (!reason.has_value() || state_->refused_by_server) return {};
  return Encode(Abort{.id = state_->has_roster() ? state_->sid : state_->sid0, .reason = *reason});
}

absl::StatusOr<std::string> ClientSession::Handle(std::string_view bytes) {
  RV_RETURN_IF_ERROR(Usable());
  RV_ASSIGN_OR_RETURN(const Message message, DecodeMessage(bytes));
  if (const auto* held = std::get_if<Roster>(&message)) return OnRoster(*held);
  if (const auto* held = std::get_if<Nonces>(&message)) return OnNonces(*held);
  if (const auto* held = std::get_if<Forward>(&message)) {
    RV_RETURN_IF_ERROR(OnForward(*held));
    return std::string();
  }
  if (const auto* held = std::get_if<SurvivorSet>(&message)) return OnSurvivors(*held);
  if (const auto* held = std::get_if<Endorsements>(&message)) return OnEndorsements(*held);
  if (const auto* held = std::get_if<UnmaskRequest>(&message)) return OnUnmaskRequest(*held);
  if (const auto* held = std::get_if<Abort>(&message)) {
    const bool known =
        state_->phase != Phase::kNew &&
        (held->id == state_->sid0 || (state_->has_roster() && held->id == state_->sid));
    if (!known) return OfAnotherSession("Abort");
    state_->refused_by_server = true;
    return Settle(RefuseFor(held->reason, "the server ended the attempt"));
  }
  return Refuse(absl::StatusCode::kInvalidArgument, "message: not one for a client");
}

std::string ClientSession::Serialise() const { return SerialiseState(*state_); }

absl::Status ClientSession::Restore(std::string_view bytes) {
  if (state_->phase != Phase::kNew)
    return Refuse(absl::StatusCode::kFailedPrecondition, "state: the session is not new");
  RV_ASSIGN_OR_RETURN(ClientState state, ParseState(bytes, context_.self.fingerprint));
  *state_ = std::move(state);
  return absl::OkStatus();
}

}  // namespace rivulet::secagg
