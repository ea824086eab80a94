#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/status.h"
#include "privacy/secagg/shared/member.h"
#include "privacy/secagg/shared/messages.h"

namespace rivulet::secagg {

// The server's side of the draw before an attempt in groups (shared/draw.h). Pure, as ServerSession
// is: a message that is refused leaves everything as it was, the same one again is fine at any
// time; Close... with an error ends the draw. Never stored: nothing is lost with one but its
// attempt. Not thread safe.
class ServerDraw {
 public:
  enum class Phase : uint8_t { kCommit = 1, kReveal = 2, kDrawn = 3, kAborted = 4 };

  // `params`: of one sum over the whole cohort; `fewest`: members of a pool, at least; `allowed`:
  // client ids. `verifier` must outlive it. Errors: InvalidArgument for a cohort that is smaller
  // than `fewest` or larger than a list can be.
  static absl::StatusOr<ServerDraw> Start(const Params& params, uint32_t fewest,
                                          std::set<std::string> allowed, const Verifier& verifier);
  std::string ParametersMessage() const { return Encode(Parameters{.params = params_}); }

  // `peer`: what the verified certificate of the connection says.
  absl::Status OnCommitment(const MemberCertificate& peer, const Commitment& message);
  // It goes before the list is fixed: its commitment does not count.
  void Withdraw(const std::string& client);
  // Fixes the list: the Pool, for every member. Reason: ROSTER_SMALL.
  absl::StatusOr<std::string> ClosePool();

  absl::Status OnReveal(const Bytes32& fingerprint, const Reveal& message);
  // The Nonces, for every member. Reason: NONCE (one is missing).
  absl::StatusOr<std::string> CloseReveal();

  // After CloseReveal. Errors: those of DrawGroups.
  absl::StatusOr<std::vector<std::vector<MemberCertificate>>> Groups(uint32_t groups) const;
  Bytes32 drawn() const;

  void GiveUp(Reason reason);
  std::string AbortMessage() const;  // empty unless aborted

  Phase phase() const { return phase_; }
  // Those who committed; ascending by fingerprint after ClosePool.
  std::vector<MemberCertificate> members() const;
  bool IsMember(const std::string& client) const;

 private:
  struct Member {
    MemberCertificate certificate;
    Commitment commitment;
    std::optional<Bytes32> nonce;
  };
  explicit ServerDraw(const Verifier& verifier) : verifier_(&verifier) {}
  absl::Status End(Reason reason, const std::string& message);
  std::vector<Bytes32> Revealed() const;

  const Verifier* verifier_;
  Params params_;
  uint32_t fewest_ = 0;
  std::set<std::string> allowed_;
  Bytes32 pool_{};
  Bytes32 draw_{};
  Phase phase_ = Phase::kCommit;
  std::optional<Reason> aborted_for_;
  std::vector<Member> members_;
};

}  // namespace rivulet::secagg
