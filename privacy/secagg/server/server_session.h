#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"
#include "privacy/secagg/shared/member.h"
#include "privacy/secagg/shared/messages.h"
#include "privacy/secagg/shared/ring.h"

namespace rivulet::secagg {

// An upload as it lies on disk against its trailer: length, SHA-256, padding bits. The signature is
// checked by ServerSession::OnMasked. InvalidArgument naming what differs.
absl::Status CheckMasked(const Params& params, std::string_view packed,
                         const MaskedTrailer& trailer);

struct ServerState;

// Who may be at fault for shares that do not fit, by roster index; no proof. A holder's share of
// somebody's secret was wrong: it lied, or was dealt a wrong one. A dealer's shares give no secret
// that it committed to, or did not open for so many that too few are left.
struct Blame {
  std::vector<uint32_t> holders;
  std::vector<uint32_t> dealers;
};

// Rebuilding the secrets of an attempt apart from its session, which goes on taking messages
// meanwhile: error correction may take minutes where many shares are wrong. A copy of the shares
// that were there when it was made; they are wiped with it.
class Reconstruction {
 public:
  ~Reconstruction();
  Reconstruction(Reconstruction&&) noexcept;
  Reconstruction& operator=(Reconstruction&&) noexcept;

  void Run();  // the work; touches no session

 private:
  friend class ServerSession;
  struct Problem;
  explicit Reconstruction(std::unique_ptr<Problem> problem);
  std::unique_ptr<Problem> problem_;
};

// The server's side of one attempt. Pure: no socket, clock or disk, and no randomness of its own:
// the same calls in the same order give the same state, so a caller that stores accepted messages
// may replay them instead of storing Serialise().
//
// Peers are named by the fingerprint of the certificate of their TLS connection. On...: OK for what
// was accepted and for the same bytes again; AlreadyExists for other bytes (the first win);
// NotFound for a stranger; FailedPrecondition (reason DEADLINE) for a phase that is over;
// InvalidArgument, or a Reason, for a message that does not hold. An error of On... concerns that
// client alone and changes nothing. An error of Close..., Freeze... or Finish with a Reason ends
// the attempt: phase() is kAborted then and AbortMessage() is for everybody. Not thread safe.
class ServerSession {
 public:
  enum class Phase : uint8_t {
    kAdvertise = 1,
    kReveal = 2,  // ring only
    kShare = 3,
    kMasked = 4,
    kEndorse = 5,  // U3 is frozen; mode 1 only
    kUnmask = 6,
    kDone = 7,
    kAborted = 8,
  };

  // `allowed`: client ids that may advertise. `verifier` must outlive the session. Errors: those of
  // Check(params).
  static absl::StatusOr<ServerSession> Start(const Params& params, std::set<std::string> allowed,
                                             const Verifier& verifier);
  ~ServerSession();
  ServerSession(ServerSession&&) noexcept;
  ServerSession& operator=(ServerSession&&) noexcept;

  // Parameters, for every allowed client.
  std::string ParametersMessage() const;

  // `peer`: what the verified certificate of the connection says.
  absl::Status OnAdvertisement(const MemberCertificate& peer, const Advertisement& message);
  uint32_t advertised() const;
  // Fixes the roster: the Roster, for every member. Reasons: ROSTER_SMALL, GRAPH.
  absl::StatusOr<std::string> CloseAdvertise();

  absl::Status OnReveal(const Bytes32& fingerprint, const Reveal& message);
  // The Nonces, for every member. Reason: NONCE (too many missing).
  absl::StatusOr<std::string> CloseReveal();

  absl::Status OnShares(const Bytes32& fingerprint, const Shares& message);
  uint32_t shared() const;
  // Fixes U2; ForwardFor gives every member of it its Forward. Reason: DEADLINE (fewer than n_min,
  // or somebody has fewer than t holders left).
  absl::Status CloseShares();
  // NotFound for one who is not in U2.
  absl::StatusOr<std::string> ForwardFor(const Bytes32& fingerprint) const;

  // Before the first byte of an upload: sid, sender and length are right.
  absl::Status OnMaskedHeader(const Bytes32& fingerprint, const MaskedHeader& message) const;
  // The upload is durable and CheckMasked was OK: checks the signature.
  absl::Status OnMasked(const Bytes32& fingerprint, const MaskedTrailer& message);
  uint32_t masked() const;
  // Fixes U3: the SurvivorSet (mode 1) or the UnmaskRequest (mode 0), for the members of U3. The
  // caller makes it durable before it sends a byte of it: it is never to be frozen differently.
  // Reason: DEADLINE (as CloseShares; or U3 cannot reach the quorum).
  absl::StatusOr<std::string> FreezeSurvivors();

  absl::Status OnEndorsement(const Bytes32& fingerprint, const Endorsement& message);
  bool EndorsementsReady() const;
  // The Endorsements (as many as the quorum), for the members of U3; from then on Unmask is
  // awaited. Reason: QUORUM (not ready, and the caller waits no longer).
  absl::StatusOr<std::string> CloseEndorsements();

  absl::Status OnUnmask(const Bytes32& fingerprint, const Unmask& message);
  // Every secret has its threshold of shares.
  bool UnmaskReady() const;

  // Rebuilds the secrets. Unavailable (reason RECONSTRUCT) when shares are missing or wrong and
  // more could still help: the phase stays kUnmask, call again after another OnUnmask. blame()
  // tells who was at fault. The same in three steps, of which the second needs no session: Begin,
  // Reconstruction::Run, Take; Take may come at any time, and does nothing once the phase is over.
  absl::Status Reconstruct();
  absl::StatusOr<Reconstruction> BeginReconstruct() const;
  absl::Status Take(Reconstruction done);
  const Blame& blame() const;

  // Removes the masks: `sum` is the sum over U3 of the uploads (RingVector::AddPacked), the result
  // the sum of the encoded vectors, reduced. Calls Reconstruct when that was not done. Wipes the
  // secrets. Reasons: RECONSTRUCT, RANGE, CHECKSUM. InvalidArgument: `sum` has another shape.
  absl::StatusOr<RingVector> Finish(RingVector sum, unsigned threads = 1);

  // Ends the attempt for a reason of the caller's (a deadline).
  void GiveUp(Reason reason);

  // By the kind of the message: one of On... above. Not Advertisement (needs the certificate).
  absl::Status Handle(const Bytes32& fingerprint, std::string_view message);

  Phase phase() const;
  std::optional<Reason> aborted_for() const;
  std::string AbortMessage() const;  // empty unless aborted
  const Params& params() const;
  const Bytes32& sid0() const;
  const Bytes32& sid() const;                             // after CloseAdvertise
  const GraphRule& rule() const;                          // after CloseAdvertise
  const std::vector<MemberCertificate>& members() const;  // by index, after CloseAdvertise
  std::optional<uint32_t> IndexOf(const Bytes32& fingerprint) const;
  const U2Set& u2() const;  // after CloseShares
  const U3Set& u3() const;  // after FreezeSurvivors

  // All messages accepted so far and the sets fixed; no secrets.
  std::string Serialise() const;
  // Errors: InvalidArgument for bytes that are no state.
  static absl::StatusOr<ServerSession> Restore(std::string_view state, const Verifier& verifier);

 private:
  explicit ServerSession(std::unique_ptr<ServerState> state);
  std::unique_ptr<ServerState> state_;
};

}  // namespace rivulet::secagg
