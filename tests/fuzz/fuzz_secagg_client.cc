#include "tests/fuzz/require.h"
#include "tests/fuzz/secagg_scenes.h"

using namespace rivulet;
using namespace rivulet::secagg;

namespace {

// Before the search, whose time is limited for each input.
[[maybe_unused]] const Attempt& kRing = AttemptOf(2);

// The session as it is on disk goes on as the same one.
void CheckStored(Attempt& attempt, const ClientSession& session) {
  if (session.phase() == ClientSession::Phase::kNew) return;
  MemoryLedger ledger;
  ClientSession again(attempt.cohort.ContextOf(0, ledger));
  const std::string state = session.Serialise();
  Require(again.Restore(state).ok() && again.Serialise() == state);
}

absl::StatusOr<std::string> Tell(Attempt& attempt, ClientSession& session,
                                 const std::string& message) {
  const auto parameters = Decode<Parameters>(message);
  if (!parameters.ok()) return session.Handle(message);
  return session.Advertise(parameters->params, attempt.cohort.LocalOf(attempt.cohort.params()));
}

void CheckRefused(ClientSession& session, const absl::Status& status, const std::string& next) {
  Require(session.phase() == ClientSession::Phase::kRefused);
  const std::string abort = session.AbortMessage();
  Require(abort.empty() || Decode<Abort>(abort)->reason == *ReasonOf(status));
  Require(session.Handle(next).status() == status);
}

}  // namespace

// Attempt and scene (a byte each), whether the message's id is right (a byte), then what a server
// says: it is answered, the same message again with the same bytes; refused for good; or as if it
// had never been said.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  Attempt& attempt = AttemptOf(data[0]);
  const ClientScene& scene = attempt.client[data[1] % attempt.client.size()];
  MemoryLedger ledger = scene.ledger;
  ClientSession session = attempt.SessionAt(scene, ledger);
  std::string message(reinterpret_cast<const char*>(data) + 3, size - 3);
  if (data[2] == 0) message = WithId(message, session.sid0(), session.sid());

  const std::string before = session.Serialise();
  const auto answer = Tell(attempt, session, message);
  if (!answer.ok() && ReasonOf(answer.status()).has_value()) {
    CheckRefused(session, answer.status(), scene.message);
  } else if (!answer.ok()) {
    Require(session.Serialise() == before);
  } else {
    Require(answer->empty() || DecodeMessage(*answer).ok());
    const auto again = Tell(attempt, session, message);
    Require(again.ok() && *again == *answer);
  }
  CheckStored(attempt, session);
  if (answer.ok() && session.phase() == ClientSession::Phase::kForwarded) {
    const auto upload = session.Mask(attempt.cohort.InputOf(0));
    Require(upload.ok() && upload->packed.size() == attempt.cohort.params().packed_bytes());
    CheckStored(attempt, session);
  }
  return 0;
}
