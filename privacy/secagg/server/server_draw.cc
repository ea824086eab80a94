#include "privacy/secagg/server/server_draw.h"

#include <algorithm>

#include "privacy/secagg/shared/bytes.h"
#include "privacy/secagg/shared/transcript.h"

namespace rivulet::secagg {
namespace {

absl::Status Unfit(const std::string& message) {
  return Refuse(absl::StatusCode::kInvalidArgument, message);
}

absl::Status AnotherOne(std::string_view what) {
  return Refuse(absl::StatusCode::kAlreadyExists,
                std::string(what) + ": another one was accepted of this client");
}

}  // namespace

absl::StatusOr<ServerDraw> ServerDraw::Start(const Params& params, uint32_t fewest,
                                             std::set<std::string> allowed,
                                             const Verifier& verifier) {
  const uint32_t least = std::max(fewest, params.roster_min());
  if (allowed.size() < least || params.n_max < least || params.n_max > kMaxMembers) {
    return Unfit("draw: got " + std::to_string(allowed.size()) + " clients, want " +
                 std::to_string(least) + ".." + std::to_string(kMaxMembers));
  }
  ServerDraw draw(verifier);
  draw.params_ = params;
  draw.fewest_ = least;
  draw.allowed_ = std::move(allowed);
  draw.pool_ = PoolId(params);
  return draw;
}

absl::Status ServerDraw::End(Reason reason, const std::string& message) {
  GiveUp(reason);
  return RefuseFor(reason, message);
}

void ServerDraw::GiveUp(Reason reason) {
  phase_ = Phase::kAborted;
  aborted_for_ = reason;
}

std::string ServerDraw::AbortMessage() const {
  if (!aborted_for_.has_value()) return {};
  return Encode(Abort{.id = pool_, .reason = *aborted_for_});
}

absl::Status ServerDraw::OnCommitment(const MemberCertificate& peer, const Commitment& message) {
  const PoolEntry& entry = message.entry;
  if (message.pool != pool_) return Unfit("commitment: of another attempt");
  if (entry.fingerprint != peer.fingerprint)
    return Unfit("commitment: not the certificate of its connection");
  for (const Member& member : members_) {
    if (member.commitment.entry == entry) return absl::OkStatus();
    if (member.certificate.client_id == peer.client_id) return AnotherOne("commitment");
  }
  if (phase_ != Phase::kCommit)
    return RefuseFor(Reason::kDeadline, "commitment: the phase is over");
  if (!allowed_.contains(peer.client_id)) {
    return Refuse(absl::StatusCode::kPermissionDenied,
                  "commitment: this client is no member of the round");
  }
  if (!verifier_->Verify(peer.public_key, CommitmentMessage(pool_, entry), entry.signature))
    return RefuseFor(Reason::kRosterSignature, "commitment: the signature does not hold");
  members_.push_back({.certificate = peer, .commitment = message, .nonce = std::nullopt});
  return absl::OkStatus();
}

void ServerDraw::Withdraw(const std::string& client) {
  if (phase_ != Phase::kCommit) return;
  allowed_.erase(client);  // nor does it come back
  std::erase_if(members_, [&](const Member& one) { return one.certificate.client_id == client; });
}

absl::StatusOr<std::string> ServerDraw::ClosePool() {
  if (phase_ != Phase::kCommit) return Unfit("pool: its list is fixed already");
  if (members_.size() < fewest_) {
    return End(Reason::kRosterSmall, "commitments: got " + std::to_string(members_.size()) +
                                         ", want at least " + std::to_string(fewest_));
  }
  std::sort(members_.begin(), members_.end(), [](const Member& a, const Member& b) {
    return a.certificate.fingerprint < b.certificate.fingerprint;
  });
  Pool pool{.pool = pool_};
  for (const Member& member : members_) pool.entries.push_back(member.commitment.entry);
  draw_ = DrawId(pool_, pool.entries);
  phase_ = Phase::kReveal;
  return Encode(pool);
}

absl::Status ServerDraw::OnReveal(const Bytes32& fingerprint, const Reveal& message) {
  const auto member = std::find_if(members_.begin(), members_.end(), [&](const Member& one) {
    return one.certificate.fingerprint == fingerprint;
  });
  if (phase_ == Phase::kCommit || message.sid != draw_) return Unfit("nonce: of another draw");
  if (member == members_.end())
    return Refuse(absl::StatusCode::kPermissionDenied, "nonce: this client is not in the pool");
  if (member->nonce.has_value())
    return *member->nonce == message.nonce ? absl::OkStatus() : AnotherOne("nonce");
  if (phase_ != Phase::kReveal) return RefuseFor(Reason::kDeadline, "nonce: the phase is over");
  if (NonceCommitment(pool_, fingerprint, message.nonce) !=
      member->commitment.entry.nonce_commitment)
    return RefuseFor(Reason::kNonce, "nonce: not the one that this client committed to");
  member->nonce = message.nonce;
  return absl::OkStatus();
}

absl::StatusOr<std::string> ServerDraw::CloseReveal() {
  if (phase_ != Phase::kReveal) return Unfit("nonces: the pool is not open for them");
  Nonces nonces{.sid = draw_};
  std::string missing;
  for (const Member& member : members_) {
    if (!member.nonce.has_value()) missing += " '" + member.certificate.client_id + "'";
    nonces.nonces.push_back(member.nonce);
  }
  if (!missing.empty()) return End(Reason::kNonce, "no nonce came from" + missing);
  phase_ = Phase::kDrawn;
  return Encode(nonces);
}

std::vector<Bytes32> ServerDraw::Revealed() const {
  std::vector<Bytes32> nonces;
  for (const Member& member : members_) nonces.push_back(member.nonce.value_or(Bytes32{}));
  return nonces;
}

absl::StatusOr<std::vector<std::vector<MemberCertificate>>> ServerDraw::Groups(
    uint32_t groups) const {
  if (phase_ != Phase::kDrawn) return Unfit("groups: they are not drawn");
  RV_ASSIGN_OR_RETURN(const auto partition, DrawGroups(pool_, Revealed(), groups));
  std::vector<std::vector<MemberCertificate>> out;
  for (const std::vector<uint32_t>& group : partition) {
    auto& members = out.emplace_back();
    for (const uint32_t at : group) members.push_back(members_[at].certificate);
  }
  return out;
}

Bytes32 ServerDraw::drawn() const { return DrawnId(draw_, Revealed()); }

std::vector<MemberCertificate> ServerDraw::members() const {
  std::vector<MemberCertificate> out;
  for (const Member& member : members_) out.push_back(member.certificate);
  return out;
}

bool ServerDraw::IsMember(const std::string& client) const {
  return std::any_of(members_.begin(), members_.end(),
                     [&](const Member& member) { return member.certificate.client_id == client; });
}

}  // namespace rivulet::secagg
