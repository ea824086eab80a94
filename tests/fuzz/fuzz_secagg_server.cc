#include "tests/fuzz/require.h"
#include "tests/fuzz/secagg_scenes.h"

using namespace rivulet;
using namespace rivulet::secagg;

namespace {

// Before the search, whose time is limited for each input.
[[maybe_unused]] const Attempt& kRingOfServer = AttemptOf(2);

absl::Status Take(Attempt& attempt, ServerSession& session, uint32_t from,
                  const std::string& message) {
  if (from == attempt.cohort.n()) return session.Handle(Bytes32{1}, message);  // a stranger
  const auto advertisement = Decode<Advertisement>(message);
  if (!advertisement.ok()) return session.Handle(attempt.cohort.fingerprint(from), message);
  return session.OnAdvertisement(attempt.cohort.certificate(from), *advertisement);
}

// The phase ends; the next one begins, or the attempt ends with a reason.
void Close(Attempt& attempt, ServerSession& session) {
  using Phase = ServerSession::Phase;
  absl::Status closed;
  switch (session.phase()) {
    case Phase::kAdvertise:
      closed = session.CloseAdvertise().status();
      break;
    case Phase::kReveal:
      closed = session.CloseReveal().status();
      break;
    case Phase::kShare:
      closed = session.CloseShares();
      break;
    case Phase::kMasked:
      closed = session.FreezeSurvivors().status();
      break;
    case Phase::kEndorse:
      closed = session.CloseEndorsements().status();
      break;
    case Phase::kUnmask: {
      const auto sum = session.Finish(*attempt.masked_sum);
      if (sum.ok()) Require(ValuesOf(*sum) == attempt.sum);
      closed = sum.status();
      break;
    }
    case Phase::kDone:
    case Phase::kAborted:
      Require(false);
  }
  Require(closed.ok() || ReasonOf(closed).has_value());
  if (session.phase() == Phase::kAborted) Require(Decode<Abort>(session.AbortMessage()).ok());
}

}  // namespace

// Attempt, scene and sender (a byte each), whether the message's id is right (a byte), then what a
// client says: accepted, also when it is said again, or an error that changes nothing. Whatever it
// was, the attempt goes on; the sum of an attempt that comes to its end is the plain sum.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  Attempt& attempt = AttemptOf(data[0]);
  ServerSession session = attempt.SessionAt(attempt.server[data[1] % attempt.server.size()]);
  const uint32_t from = data[2] % (attempt.cohort.n() + 1);
  std::string message(reinterpret_cast<const char*>(data) + 4, size - 4);
  if (data[3] == 0) message = WithId(message, session.sid0(), session.sid());

  const std::string before = session.Serialise();
  const absl::Status said = Take(attempt, session, from, message);
  const std::string after = session.Serialise();
  if (!said.ok()) Require(after == before);
  if (said.ok())
    Require(Take(attempt, session, from, message).ok() && session.Serialise() == after);
  const auto stored = ServerSession::Restore(after, attempt.cohort.verifier());
  Require(stored.ok() && stored->Serialise() == after);
  Close(attempt, session);
  return 0;
}
