#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"
#include "privacy/crypto/entropy.h"
#include "privacy/secagg/client/ledger.h"
#include "privacy/secagg/client/policy.h"
#include "privacy/secagg/shared/member.h"
#include "privacy/secagg/shared/messages.h"
#include "privacy/secagg/shared/ring.h"

namespace rivulet::secagg {

// The client's own trust store.
class CertificateDirectory {
 public:
  virtual ~CertificateDirectory() = default;
  // The certificate of this fingerprint, if it is valid now under an authority that this client
  // trusts, for agents, and not on its denylist. Any error: not to be trusted.
  virtual absl::StatusOr<MemberCertificate> Find(const Bytes32& fingerprint) = 0;
};

struct ClientState;

// What a session needs of its surroundings. Everything referred to must outlive it.
struct ClientContext {
  MemberCertificate self;
  Signer& signer;  // of self
  const Verifier& verifier;
  CertificateDirectory& directory;
  RoundLedger& ledger;
  Entropy& entropy;
  ClientPolicy policy;
  unsigned threads = 1;  // for masking
};

// What the client itself knows of the round, not from the parameters.
struct LocalRound {
  JobId job_id{};
  uint64_t round = 0;
  Bytes32 model_sha256{};   // of the model it holds
  Bytes32 config_sha256{};  // of the configuration it would train by
  uint64_t d = 0;           // of its own manifest
  uint32_t d_aux = 0;
  // Fingerprints, ascending, of the only ones that may be in the roster: of the group that was
  // drawn (client_draw.h). Empty: whoever the owner trusts.
  std::vector<Bytes32> group = {};
};

struct MaskedUpload {
  std::string packed;   // y_u: Params::packed_bytes() bytes
  std::string header;   // Encode(MaskedHeader), to be sent before it
  std::string trailer;  // Encode(MaskedTrailer), to be sent behind it
};

// One client's side of one attempt: what to answer to every message, and what to refuse. Pure: no
// socket, no clock, no disk but through the ledger.
//
// Order: Advertise, OnRoster, (ring: OnNonces), OnForward, Mask, (mode 1: OnSurvivors,
// OnEndorsements; mode 0: OnUnmaskRequest). Answers are encoded messages; the same message again
// gets the same bytes again. The caller makes Serialise() durable before it sends an answer.
//
// A refusal (an error with a Reason) is final: keys are wiped and every later call returns the same
// error. An error without a Reason (InvalidArgument: not a message; FailedPrecondition: of another
// session, or out of order) leaves the session as it was. Not thread safe.
class ClientSession {
 public:
  explicit ClientSession(ClientContext context);
  ~ClientSession();
  ClientSession(ClientSession&&) noexcept;

  // Checks the parameters against policy and own view, draws the keys: the Advertisement.
  // Reasons: POLICY, PARAMS, MODEL_MISMATCH, ALREADY_REVEALED.
  absl::StatusOr<std::string> Advertise(const Params& params, const LocalRound& local);

  // The Shares (complete graph) or the Reveal (ring). Reasons: ROSTER_*, GROUP, GRAPH, LOW_ORDER.
  absl::StatusOr<std::string> OnRoster(const Roster& roster);

  // Ring only: the Shares. Reasons: NONCE, LOW_ORDER.
  absl::StatusOr<std::string> OnNonces(const Nonces& nonces);

  // Opens the shares of the neighbours; nothing to answer, Mask may follow. Those that do not open
  // are reported in the trailer. Reasons: U2, SHARE_OPEN.
  absl::Status OnForward(const Forward& forward);

  // Masks the encoded vector: length() elements of b bits, whose last 4 (the checksums) it fills
  // in. The session never masks two different vectors: a repeat with the same one gives the same
  // bytes. Errors: InvalidArgument (size, width), AlreadyExists (another vector), both without a
  // Reason.
  absl::StatusOr<MaskedUpload> Mask(RingVector encoded);

  // Mode 1: the Endorsement. Reasons: U2, U3, SECOND_U3.
  absl::StatusOr<std::string> OnSurvivors(const SurvivorSet& survivors);
  // Mode 1: the Unmask. Reasons: QUORUM, ALREADY_REVEALED.
  absl::StatusOr<std::string> OnEndorsements(const Endorsements& endorsements);
  // Mode 0: the Unmask. Reasons: those of OnSurvivors, QUORUM in mode 1 before the endorsements,
  // ALREADY_REVEALED.
  absl::StatusOr<std::string> OnUnmaskRequest(const UnmaskRequest& request);

  // Any message but Parameters, by its bytes: the answer, empty where there is none to send (after
  // Forward: call Mask). An Abort ends the session.
  absl::StatusOr<std::string> Handle(std::string_view message);

  enum class Phase : uint8_t {
    kNew = 0,
    kAdvertised = 1,
    kRevealed = 2,  // its nonce, ring only
    kShared = 3,
    kForwarded = 4,  // waits for Mask
    kMasked = 5,
    kEndorsed = 6,
    kUnmasked = 7,
    kRefused = 8,  // by either side
  };
  Phase phase() const;
  const Params& params() const;  // after Advertise
  const Bytes32& sid0() const;   // after Advertise
  const Bytes32& sid() const;    // after OnRoster; seeds of the public streams (PublicStream)
  // The Abort to tell the server of a refusal; empty unless phase() is kRefused by this side.
  std::string AbortMessage() const;

  // The whole session, secrets inside: to be encrypted, and wiped when the round is over.
  std::string Serialise() const;
  // Goes on from Serialise(). The session must be new. InvalidArgument for bytes that are none.
  absl::Status Restore(std::string_view state);

 private:
  absl::Status Usable() const;                // the refusal, once there was one
  absl::Status Settle(absl::Status outcome);  // makes an error with a Reason final
  template <typename T>
  absl::StatusOr<T> Settle(absl::StatusOr<T> outcome);
  absl::Status RecordOnce(LedgerTable table, std::string_view key, std::string_view value,
                          Reason otherwise, std::string_view what);
  absl::Status CheckLocal(const Params& params, const LocalRound& local) const;
  absl::StatusOr<std::string> StartAttempt(const Params& params, const LocalRound& local);
  absl::StatusOr<std::string> AcceptRoster(const Roster& roster);
  absl::StatusOr<std::string> AcceptNonces(const Nonces& nonces);
  absl::StatusOr<std::string> DealShares();
  absl::Status AcceptForward(const Forward& forward);
  absl::StatusOr<MaskedUpload> MaskVector(RingVector encoded);
  absl::Status CheckSets(const U2Set& u2, const U3Set& u3) const;
  absl::StatusOr<std::string> Endorse(const SurvivorSet& survivors);
  absl::Status CheckQuorum(const Endorsements& endorsements) const;
  absl::StatusOr<std::string> AnswerQuorum(const Endorsements& endorsements);
  absl::StatusOr<std::string> AnswerRequest(const UnmaskRequest& request);
  absl::StatusOr<std::string> RevealShares();

  ClientContext context_;
  std::unique_ptr<ClientState> state_;
};

}  // namespace rivulet::secagg
