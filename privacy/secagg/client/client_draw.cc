#include "privacy/secagg/client/client_draw.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <set>
#include <utility>

#include "common/io/sha256.h"
#include "privacy/secagg/client/client_state.h"
#include "privacy/secagg/shared/bytes.h"

namespace rivulet::secagg {
namespace {

constexpr uint8_t kDrawVersion = 1;

absl::Status InRange(Reason reason, std::string_view name, uint64_t got, uint64_t low,
                     uint64_t high) {
  if (got >= low && got <= high) return absl::OkStatus();
  return RefuseFor(reason, std::string(name) + ": got " + std::to_string(got) + ", want " +
                               std::to_string(low) + ".." + std::to_string(high));
}

}  // namespace

absl::Status ClientDraw::Settle(absl::Status outcome) {
  if (ReasonOf(outcome).has_value()) {
    refusal_ = outcome;
    phase_ = Phase::kRefused;
    OPENSSL_cleanse(nonce_.data(), nonce_.size());
  }
  return outcome;
}

absl::StatusOr<std::string> ClientDraw::Settle(absl::StatusOr<std::string> outcome) {
  if (!outcome.ok()) return Settle(outcome.status());
  return outcome;
}

absl::StatusOr<std::string> ClientDraw::Commit(const Params& params, uint32_t fewest,
                                               const Bytes32& nonce) {
  RV_RETURN_IF_ERROR(refusal_);
  absl::StatusOr<std::string> made = MakeCommitment(params, fewest, nonce);
  if (phase_ == Phase::kNew && ReasonOf(made.status()).has_value()) {
    params_ = params;  // what is refused, for Serialise() and AbortMessage()
    fewest_ = fewest;
    own_ = {.pool = PoolId(params)};
    own_.entry.fingerprint = context_.self.fingerprint;
  }
  return Settle(std::move(made));
}
absl::StatusOr<std::string> ClientDraw::OnPool(const Pool& pool) {
  RV_RETURN_IF_ERROR(refusal_);
  return Settle(AcceptPool(pool));
}
absl::Status ClientDraw::OnNonces(const Nonces& nonces, uint32_t groups) {
  RV_RETURN_IF_ERROR(refusal_);
  return Settle(AcceptNonces(nonces, groups));
}
absl::Status ClientDraw::OnAbort(const Abort& abort) {
  RV_RETURN_IF_ERROR(refusal_);
  if (phase_ == Phase::kNew || abort.id != own_.pool) return OfAnotherSession("Abort");
  refused_by_server_ = true;
  return Settle(RefuseFor(abort.reason, "the server ended the attempt"));
}

absl::StatusOr<std::string> ClientDraw::MakeCommitment(const Params& params, uint32_t fewest,
                                                       const Bytes32& nonce) {
  if (phase_ != Phase::kNew) {
    if (params == params_ && fewest == fewest_) return Encode(own_);
    return RefuseFor(Reason::kParams, "this client committed with other parameters");
  }
  RV_RETURN_IF_ERROR(InRange(Reason::kParams, "attempt", params.attempt, 0, kMaxAttempts - 1));
  RV_RETURN_IF_ERROR(
      InRange(Reason::kPolicy, "attempts", params.attempt + 1ull, 1, context_.policy.attempts_max));
  RV_RETURN_IF_ERROR(InRange(Reason::kParams, "n_max", params.n_max,
                             std::max(fewest, params.roster_min()), kMaxMembers));
  RV_RETURN_IF_ERROR(NotAnswered(context_.ledger, params));
  Commitment own{.pool = PoolId(params)};
  own.entry.fingerprint = context_.self.fingerprint;
  own.entry.nonce_commitment = NonceCommitment(own.pool, own.entry.fingerprint, nonce);
  own.entry.signature = context_.signer.Sign(CommitmentMessage(own.pool, own.entry));
  // A second nonce for one attempt would be a second draw.
  RV_RETURN_IF_ERROR(RecordOnce(context_.ledger, LedgerTable::kCommitted, AttemptKey(params),
                                ViewOf(Sha256Of(Encode(own))), Reason::kParams, "commitment"));
  params_ = params;
  fewest_ = fewest;
  nonce_ = nonce;
  own_ = own;
  phase_ = Phase::kCommitted;
  return Encode(own_);
}

absl::Status ClientDraw::CheckPool(const Pool& pool) const {
  RV_RETURN_IF_ERROR(InRange(Reason::kRosterSmall, "members of the pool", pool.entries.size(),
                             std::max(fewest_, params_.roster_min()), params_.n_max));
  const auto not_before = [](const PoolEntry& a, const PoolEntry& b) {
    return a.fingerprint >= b.fingerprint;
  };
  if (std::adjacent_find(pool.entries.begin(), pool.entries.end(), not_before) !=
      pool.entries.end()) {
    return RefuseFor(Reason::kRosterDuplicate, "members are not ascending by fingerprint");
  }
  if (std::find(pool.entries.begin(), pool.entries.end(), own_.entry) == pool.entries.end())
    return RefuseFor(Reason::kRosterSelf, "own commitment is missing or altered");
  std::set<std::string> clients;
  for (size_t at = 0; at < pool.entries.size(); ++at) {
    const PoolEntry& entry = pool.entries[at];
    RV_RETURN_IF_ERROR(CheckMember(context_, at, entry.fingerprint,
                                   CommitmentMessage(pool.pool, entry), entry.signature, clients)
                           .status());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ClientDraw::AcceptPool(const Pool& pool) {
  if (phase_ == Phase::kNew) return OutOfOrder("Pool");
  if (pool.pool != own_.pool) return OfAnotherSession("Pool");
  if (phase_ != Phase::kCommitted) {
    if (pool.entries == pool_.entries) return RevealMessage();
    return RefuseFor(Reason::kRosterDuplicate, "a second pool for one attempt");
  }
  RV_RETURN_IF_ERROR(CheckPool(pool));
  const Bytes32 draw = DrawId(pool.pool, pool.entries);
  RV_RETURN_IF_ERROR(RecordOnce(context_.ledger, LedgerTable::kPool, ViewOf(pool.pool),
                                ViewOf(draw), Reason::kRosterDuplicate, "pool"));
  pool_ = pool;
  draw_ = draw;
  phase_ = Phase::kRevealed;
  return RevealMessage();
}

absl::Status ClientDraw::CheckNonces(const Nonces& nonces) const {
  if (nonces.nonces.size() != pool_.entries.size())
    return RefuseFor(Reason::kNonce, "nonces: not one place for every member of the pool");
  for (size_t at = 0; at < nonces.nonces.size(); ++at) {
    const PoolEntry& entry = pool_.entries[at];
    const auto& nonce = nonces.nonces[at];
    // Each one that may be left out is a choice of the server.
    if (!nonce.has_value())
      return RefuseFor(Reason::kNonce, "nonce of member " + std::to_string(at) + " is missing");
    const bool altered = entry.fingerprint == own_.entry.fingerprint && *nonce != nonce_;
    if (altered ||
        NonceCommitment(own_.pool, entry.fingerprint, *nonce) != entry.nonce_commitment) {
      return RefuseFor(Reason::kNonce,
                       "nonce of member " + std::to_string(at) + " is not the one it committed to");
    }
  }
  return absl::OkStatus();
}

// The pool and its nonces are checked: what follows from them.
absl::Status ClientDraw::Cut(uint32_t groups) {
  std::vector<Bytes32> all;
  for (const auto& nonce : nonces_.nonces) all.push_back(*nonce);
  RV_ASSIGN_OR_RETURN(const auto partition, DrawGroups(own_.pool, all, groups));
  const Bytes32 drawn = DrawnId(draw_, all);
  for (uint32_t index = 0; index < groups; ++index) {
    DrawnGroup group{.index = index, .drawn = drawn};
    for (const uint32_t at : partition[index])
      group.members.push_back(pool_.entries[at].fingerprint);
    if (std::binary_search(group.members.begin(), group.members.end(), own_.entry.fingerprint))
      group_ = std::move(group);
  }
  groups_ = groups;
  if (!group_.members.empty()) return absl::OkStatus();
  return RefuseFor(Reason::kRosterSelf, "this client is in no group");
}

absl::Status ClientDraw::AcceptNonces(const Nonces& nonces, uint32_t groups) {
  if (phase_ == Phase::kNew || phase_ == Phase::kCommitted) return OutOfOrder("Nonces");
  if (nonces.sid != draw_) return OfAnotherSession("Nonces");
  if (phase_ == Phase::kDrawn) {
    if (nonces.nonces == nonces_.nonces) return absl::OkStatus();
    return RefuseFor(Reason::kNonce, "a second list of nonces for one pool");
  }
  RV_RETURN_IF_ERROR(CheckNonces(nonces));
  nonces_ = nonces;
  RV_RETURN_IF_ERROR(Cut(groups));
  phase_ = Phase::kDrawn;
  return absl::OkStatus();
}

std::string ClientDraw::AbortMessage() const {
  const auto reason = ReasonOf(refusal_);
  if (!reason.has_value() || refused_by_server_) return {};
  return Encode(Abort{.id = own_.pool, .reason = *reason});
}

// Messages as they came: an empty text for one that is not there yet.
std::string ClientDraw::Serialise() const {
  const auto reason = ReasonOf(refusal_);
  ByteWriter out(1024 + pool_.entries.size() * (kPoolEntryBytes + 33));
  out.U8(kDrawVersion).U8(static_cast<uint8_t>(phase_));
  out.U8(reason.has_value() ? static_cast<uint8_t>(*reason) : 0).U8(refused_by_server_);
  out.Raw(CanonicalBytes(params_)).U32(fewest_).Raw(nonce_).U32(groups_);
  out.Lp(phase_ == Phase::kNew ? "" : Encode(own_));
  out.Lp(pool_.entries.empty() ? "" : Encode(pool_));
  out.Lp(nonces_.nonces.empty() ? "" : Encode(nonces_));
  return out.Take();
}

absl::Status ClientDraw::Restore(std::string_view state) {
  const absl::Status none =
      Refuse(absl::StatusCode::kInvalidArgument, "state: not one of a client's draw");
  if (phase_ != Phase::kNew)
    return Refuse(absl::StatusCode::kFailedPrecondition, "state: the draw is not new");
  ByteReader in(state);
  const uint8_t version = in.U8(), phase = in.U8(), reason = in.U8(), by_server = in.U8();
  const auto params = ParseParams(in.Raw(CanonicalBytes(Params()).size()));
  const uint32_t fewest = in.U32();
  const Bytes32 nonce = in.Array<32>();
  const uint32_t groups = in.U32();
  const std::string_view own = in.Lp(), pool = in.Lp(), nonces = in.Lp();
  if (!in.Done() || version != kDrawVersion || phase > static_cast<uint8_t>(Phase::kRefused) ||
      !params.ok() || ReasonFrom(reason).has_value() != (Phase(phase) == Phase::kRefused)) {
    return none;
  }
  ClientDraw next(context_);
  next.phase_ = static_cast<Phase>(phase);
  next.refused_by_server_ = by_server != 0;
  if (const auto known = ReasonFrom(reason))
    next.refusal_ = RefuseFor(*known, "the attempt was refused before");
  next.params_ = *params;
  next.fewest_ = fewest;
  next.nonce_ = nonce;
  if (!own.empty()) {
    RV_ASSIGN_OR_RETURN(next.own_, Decode<Commitment>(own));
    if (next.own_.pool != PoolId(*params)) return none;
    if (next.own_.entry.fingerprint != context_.self.fingerprint)
      return Refuse(absl::StatusCode::kInvalidArgument, "state: of another certificate");
  }
  if (!pool.empty()) {
    RV_ASSIGN_OR_RETURN(next.pool_, Decode<Pool>(pool));
    next.draw_ = DrawId(next.own_.pool, next.pool_.entries);
  }
  if (!nonces.empty()) {
    RV_ASSIGN_OR_RETURN(next.nonces_, Decode<Nonces>(nonces));
  }
  // What a phase has behind it is there, and holds.
  if (next.phase_ == Phase::kCommitted || next.phase_ == Phase::kRevealed ||
      next.phase_ == Phase::kDrawn) {
    if (own.empty()) return none;
    if (next.phase_ != Phase::kCommitted && pool.empty()) return none;
    if (next.phase_ == Phase::kDrawn) {
      if (!next.CheckNonces(next.nonces_).ok() || !next.Cut(groups).ok()) return none;
    }
  }
  phase_ = next.phase_;
  refusal_ = next.refusal_;
  refused_by_server_ = next.refused_by_server_;
  params_ = next.params_;
  fewest_ = next.fewest_;
  nonce_ = next.nonce_;
  own_ = next.own_;
  pool_ = std::move(next.pool_);
  draw_ = next.draw_;
  nonces_ = std::move(next.nonces_);
  groups_ = next.groups_;
  group_ = std::move(next.group_);
  return absl::OkStatus();
}

}  // namespace rivulet::secagg
