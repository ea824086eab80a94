#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/status.h"
#include "privacy/secagg/server/server_session.h"

namespace rivulet {

// One sum of an attempt under masks, on the coordinator's side: what came from whom, what to say
// next, when to go on without somebody. Pure, as the engine is: no clock, no I/O. Not thread safe.
//
//   advertise -> share -> masked: the uploads come, the engine waits for them
//     -> (frozen) endorse -> unmask -> the sum may be opened
class MaskedGroup {
 public:
  using milliseconds = std::chrono::milliseconds;

  struct Message {
    std::vector<std::string> clients;  // each gets it
    std::string bytes;
  };
  // What a step asks of the driver, in this order.
  struct Output {
    bool save = false;  // Serialise() must be durable before anything is sent
    std::vector<Message> send;
    std::vector<std::pair<std::string, std::string>> lost;  // clients without whom it goes on, why
    absl::Status failed;                                    // the sum will not be opened
    // With `failed`: clients whose shares were wrong, and why they are thought so; no proof.
    std::vector<std::pair<std::string, std::string>> faulty;
    bool repeatable = true;  // a failed one: no client may have given shares away
    bool rebuild = false;    // BeginRebuild() has something to do
    bool opened = false;     // Open() has everything it needs
  };

  struct Limits {
    milliseconds phase{60000};   // of each exchange before the uploads, and of the endorsements
    milliseconds unmask{60000};  // clients that have answered take part in no second attempt
  };

  // `cohort`: names of those invited to it. Errors: those of the protocol's parameters.
  static absl::StatusOr<std::unique_ptr<MaskedGroup>> Start(const secagg::Params& params,
                                                            const std::vector<std::string>& cohort,
                                                            Limits limits, milliseconds now);
  // From Serialise(). Deadlines start anew; where keys were still collected, all send theirs again.
  static absl::StatusOr<std::unique_ptr<MaskedGroup>> Restore(std::string_view state, Limits limits,
                                                              milliseconds now);
  std::string Serialise() const;

  // `who`: from the verified certificate of the connection; its client_id is the name, whose
  // messages are taken whatever its certificate is by then. An error is the sender's alone.
  absl::StatusOr<Output> OnMessage(const secagg::MemberCertificate& who, std::string_view bytes,
                                   milliseconds now);
  Output OnGone(const std::string& client, milliseconds now);  // it gave its task up
  Output OnTime(milliseconds now);

  // Before the first byte of an upload. FailedPrecondition when masks are not agreed, or the client
  // is not among those who shared.
  absl::Status MayUpload(const std::string& client) const;
  uint64_t upload_bytes() const;  // exactly: the packed vector and its trailer
  // A whole upload whose SHA-256 over the packed part is `packed_sha256` and padding is zero.
  absl::Status OnUpload(const std::string& client, std::string_view trailer);

  // The set is fixed; `counted` are its members, those whose uploads are stored. The driver saves
  // before it sends; where it could not, it calls again and gets the same.
  Output Freeze(const std::vector<std::string>& counted, milliseconds now);

  Output GiveUp(const absl::Status& why);

  // The secrets from the shares that are there. Takes time: Run() without the driver's lock, while
  // further shares may come; then Rebuilt. Nothing where there is nothing to do.
  std::optional<secagg::Reconstruction> BeginRebuild();
  Output Rebuilt(secagg::Reconstruction done, milliseconds now);

  // The sum of the encoded vectors from the sum of the uploads of those that Freeze counted. Takes
  // time: without the driver's lock. Errors with a Reason end the attempt.
  absl::StatusOr<secagg::RingVector> Open(secagg::RingVector sum, unsigned threads);

  // What Serialise() gave last is durable.
  void Saved();
  // What a client that comes back may have missed; nothing that is not durable yet.
  std::vector<std::string> MessagesFor(const std::string& client) const;
  std::string ParametersMessage() const { return session_.ParametersMessage(); }
  std::optional<milliseconds> NextDeadline() const;
  uint64_t protocol_bytes() const { return protocol_bytes_; }  // of messages that were taken
  // "keys" and of how many clients more; nothing while uploads come.
  std::pair<std::string, size_t> Awaited() const;
  const std::vector<std::string>& cohort() const { return cohort_; }
  const secagg::Params& params() const { return session_.params(); }
  const secagg::ServerSession& session() const { return session_; }

 private:
  MaskedGroup(secagg::ServerSession session, std::vector<std::string> cohort, Limits limits,
              milliseconds now);
  void Advance(Output& out, milliseconds now);
  void CloseAdvertise(Output& out, milliseconds now);
  void CloseReveal(Output& out, milliseconds now);
  void CloseShares(Output& out, milliseconds now);
  void CloseEndorsements(Output& out, milliseconds now);
  void WantSecrets(Output& out);
  void PhaseIsOver(Output& out, milliseconds now);
  void SayToAll(const std::string& bytes, Output& out);
  void Fail(const absl::Status& status, Output& out);
  void FailLate(Output& out);
  bool Expected(const std::string& client) const;
  void KnowMembers();
  void ExpectMembers();
  const Bytes32* FingerprintOf(const std::string& client) const;

  secagg::ServerSession session_;
  std::vector<std::string> cohort_;
  Limits limits_;
  std::set<std::string> waiting_;  // clients that have not spoken in this phase
  std::map<std::string, Bytes32> fingerprints_;
  std::vector<std::string> said_;  // to all, for those who come back
  secagg::RingVector opened_;
  uint64_t protocol_bytes_ = 0;
  size_t saved_ = 0;                     // of said_, durable
  bool forwarding_ = false;              // so is that the uploads may come
  bool unmasking_ = false;               // shares may have been given away
  std::optional<size_t> tried_without_;  // how many answers were missing at the last attempt
  bool rebuild_due_ = false;             // one is to begin
  bool rebuilding_ = false;
  bool late_ = false;  // the time for shares is up: what there is decides
  milliseconds deadline_{0};
};

}  // namespace rivulet
