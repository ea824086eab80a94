#include "tests/fuzz/require.h"
#include "tests/fuzz/secagg_scenes.h"

using namespace rivulet;
using namespace rivulet::secagg;

namespace {

void CheckClient(Attempt& attempt, std::string_view bytes) {
  MemoryLedger ledger;
  ClientSession session(attempt.cohort.ContextOf(0, ledger));
  if (!session.Restore(bytes).ok()) return;
  const std::string written = session.Serialise();
  ClientSession again(attempt.cohort.ContextOf(0, ledger));
  Require(again.Restore(written).ok() && again.Serialise() == written);
  // Every message of the honest attempt, out of order where this session is elsewhere.
  for (const ClientScene& scene : attempt.client) {
    MemoryLedger rows;
    ClientSession copy(attempt.cohort.ContextOf(0, rows));
    Require(copy.Restore(bytes).ok());
    (void)copy.Handle(scene.message);
    (void)copy.Mask(attempt.cohort.InputOf(0));
    (void)copy.AbortMessage();
  }
}

void CheckServer(Attempt& attempt, std::string_view bytes) {
  auto session = ServerSession::Restore(bytes, attempt.cohort.verifier());
  if (!session.ok()) return;
  const std::string written = session->Serialise();
  const auto again = ServerSession::Restore(written, attempt.cohort.verifier());
  Require(again.ok() && again->Serialise() == written);
  for (const ServerScene& scene : attempt.server) {
    (void)session->Handle(attempt.cohort.fingerprint(0), scene.message);
  }
  (void)session->CloseAdvertise();
  (void)session->CloseReveal();
  (void)session->CloseShares();
  (void)session->ForwardFor(attempt.cohort.fingerprint(0));
  (void)session->FreezeSurvivors();
  (void)session->CloseEndorsements();
  (void)session->Finish(*attempt.masked_sum);
}

}  // namespace

// Attempt and side (a byte each), then a session as it lies on disk: refused, or it goes on
// whatever is said to it, and is written and read again the same.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  Attempt& attempt = AttemptOf(data[0] % 2);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  data[1] % 2 == 0 ? CheckClient(attempt, bytes) : CheckServer(attempt, bytes);
  return 0;
}
