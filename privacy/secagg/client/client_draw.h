#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"
#include "privacy/secagg/client/client_session.h"
#include "privacy/secagg/shared/messages.h"

namespace rivulet::secagg {

// The group that a client was drawn into.
struct DrawnGroup {
  uint32_t index = 0;
  Bytes32 drawn{};               // DrawnId
  std::vector<Bytes32> members;  // fingerprints, ascending, its own among them
};

// One client's side of the draw before an attempt in groups (shared/draw.h). Pure, as
// ClientSession is, and with the same rules: the same message again gets the same answer, the
// caller makes Serialise() durable before it sends one, an error with a Reason is final, one
// without leaves everything as it was. Order: Commit, OnPool, OnNonces. Not thread safe.
class ClientDraw {
 public:
  explicit ClientDraw(ClientContext context) : context_(std::move(context)) {}

  // The Commitment to `nonce`, which must come fresh from the caller's entropy. `params`: of one
  // sum over the whole cohort; `fewest`: members without whom the job has no round, which keeps
  // the server from drawing among a few of its own. Reasons: POLICY (more attempts than the owner
  // allows: each is a draw), PARAMS, ALREADY_REVEALED.
  absl::StatusOr<std::string> Commit(const Params& params, uint32_t fewest, const Bytes32& nonce);

  // The Reveal. Reasons: ROSTER_SELF, ROSTER_SIGNATURE, ROSTER_DUPLICATE (not ascending, a client
  // twice, a second list), ROSTER_SMALL (or more than were invited).
  absl::StatusOr<std::string> OnPool(const Pool& pool);

  // Cuts the pool into so many `groups`: group() from then on. Reason: NONCE (one is missing or
  // is not what was committed to, the own one is another, a second list).
  absl::Status OnNonces(const Nonces& nonces, uint32_t groups);

  // The server gives the draw up: the reason it gives is final.
  absl::Status OnAbort(const Abort& abort);

  enum class Phase : uint8_t { kNew = 0, kCommitted = 1, kRevealed = 2, kDrawn = 3, kRefused = 4 };
  Phase phase() const { return phase_; }
  const Bytes32& draw() const { return draw_; }                                  // after OnPool
  uint32_t size() const { return static_cast<uint32_t>(pool_.entries.size()); }  // after OnPool
  const DrawnGroup& group() const { return group_; }                             // after OnNonces
  // The Abort to tell the server of a refusal; empty unless this side refused.
  std::string AbortMessage() const;

  // The nonce inside, which is secret until it is revealed. A refusal is kept too, of Commit as
  // well.
  std::string Serialise() const;
  // Goes on from Serialise(); must be new. InvalidArgument for bytes that are no state of this
  // client.
  absl::Status Restore(std::string_view state);

 private:
  absl::Status Settle(absl::Status outcome);
  absl::StatusOr<std::string> Settle(absl::StatusOr<std::string> outcome);
  absl::StatusOr<std::string> MakeCommitment(const Params& params, uint32_t fewest,
                                             const Bytes32& nonce);
  absl::StatusOr<std::string> AcceptPool(const Pool& pool);
  absl::Status CheckPool(const Pool& pool) const;
  absl::Status AcceptNonces(const Nonces& nonces, uint32_t groups);
  absl::Status CheckNonces(const Nonces& nonces) const;
  absl::Status Cut(uint32_t groups);
  std::string RevealMessage() const { return Encode(Reveal{.sid = draw_, .nonce = nonce_}); }

  ClientContext context_;
  Phase phase_ = Phase::kNew;
  absl::Status refusal_;  // not OK: final
  bool refused_by_server_ = false;
  Params params_;
  uint32_t fewest_ = 0;
  Bytes32 nonce_{};
  Commitment own_;
  Pool pool_;
  Bytes32 draw_{};
  Nonces nonces_;
  uint32_t groups_ = 0;
  DrawnGroup group_;
};

}  // namespace rivulet::secagg
