#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "client/runtime/local_update.h"
#include "client/upload/update_encoder.h"
#include "common/tensor/parameter_set.h"
#include "privacy/masking/masked_form.h"
#include "privacy/masking/masked_vector.h"
#include "privacy/secagg/client/client_draw.h"
#include "privacy/secagg/client/client_session.h"

namespace rivulet {

// What a client is among the others, and what it must never do twice. All must outlive the tasks.
struct MaskingSelf {
  secagg::MemberCertificate certificate;
  secagg::Signer& signer;
  secagg::CertificateDirectory& directory;
  secagg::RoundLedger& ledger;
  secagg::ClientPolicy policy;
  Entropy& entropy = SystemEntropy();
  RoundingMaker rounding = {};  // empty: from `entropy`; simulations draw the words by seed
  std::string name = {};        // for `rounding`, which knows clients by their short names
  // The nonce for the draw of an attempt; empty: from `entropy`. Simulations make it by seed.
  std::function<Bytes32(const UploadKey& attempt, uint64_t seed)> nonce = {};
};

// The attempt a task belongs to, from the task itself.
struct MaskedTaskFacts {
  std::string job;
  uint64_t round = 0;
  uint32_t attempt = 0;
  std::string state_sha256;     // hex, of the global state it holds
  std::string document;         // canonical job document
  std::string parameters;       // the coordinator's first message (privacy/masking/task_terms.h)
  std::string log_sha256 = {};  // hex, of the task's log: in a second pass of the first's mean
};

// One client's part in one attempt under masks, the same in the agent and in the simulation: in
// groups first the draw of them, then keys, shares, the masked file instead of the update, shares
// of others' secrets at the end. Thread safe.
class MaskedTask {
 public:
  // Whether Begin() would find the parameters wrong; touches neither ledger nor keys. Errors: as
  // Begin().
  static absl::Status Check(const MaskedTaskFacts& facts, const secagg::ClientPolicy& policy);
  // Checks the parameters against the job and the owner's policy. Errors: a refusal with the
  // protocol's Reason; InvalidArgument for a job that cannot be masked.
  static absl::StatusOr<std::unique_ptr<MaskedTask>> Begin(const MaskingSelf& self,
                                                           const MaskedTaskFacts& facts);
  // The same for a form that is known already; facts.document is only hashed.
  static absl::StatusOr<std::unique_ptr<MaskedTask>> Begin(const MaskingSelf& self,
                                                           const MaskedTaskFacts& facts,
                                                           MaskedForm form);
  // Goes on from Serialise(). Errors: InvalidArgument for other bytes.
  static absl::StatusOr<std::unique_ptr<MaskedTask>> Restore(const MaskingSelf& self,
                                                             const MaskedTaskFacts& facts,
                                                             std::string_view state);
  std::string Serialise() const;  // secrets inside

  // What this side begins with, and says again when its task comes again: its keys; while groups
  // are still to be drawn, its commitment to a nonce.
  std::string advertisement() const;
  // The coordinator's next message: what to answer, empty for nothing. Errors with a Reason are
  // final; others leave everything as it was.
  absl::StatusOr<std::string> On(std::string_view message);

  bool agreed() const;  // masks are agreed: File() may be called
  // With scalars.drawn-from = "session", once agreed: what the round's directions follow from.
  uint64_t direction_root() const;
  // The update's file: the masked vector and its trailer. A second call with another update gives
  // the first one's, also after Restore(). update.masked.residual holds afterwards what the vector
  // of that file does not carry, whichever call made it. Errors: those of EncodeUpdate;
  // FailedPrecondition before agreed().
  absl::StatusOr<std::string> File(LocalUpdate& update);
  // To tell the coordinator why this side refused; empty when it did not.
  std::string abort_message() const;

 private:
  MaskedTask(const MaskingSelf& self, MaskedForm form);
  absl::Status TakeParameters(const MaskedTaskFacts& facts);
  absl::Status Advertise();
  absl::Status Commit();
  void EnterGroup();
  absl::StatusOr<std::string> OnDraw(const secagg::Message& message);
  absl::StatusOr<std::string> FileOfBefore(LocalUpdate& update) const;

  const MaskingSelf& self_;
  MaskedForm form_;  // of the round
  UploadKey upload_;
  MaskedAttempt attempt_;
  mutable std::mutex mutex_;
  std::optional<secagg::ClientDraw> draw_;  // with robust.groups
  secagg::ClientSession session_;
  secagg::Params params_;  // of the session; until its group is drawn, those of the pool
  std::string advertisement_;
  std::string file_;
  std::string rest_;  // safetensors of what file_ does not carry; empty without error feedback
};

}  // namespace rivulet
