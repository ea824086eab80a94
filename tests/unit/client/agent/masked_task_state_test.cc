#include <gtest/gtest.h>

#include "client/agent/peer_certificates.h"
#include "client/runtime/masked_task.h"
#include "tests/unit/client/agent/masked_cohort.h"

namespace rivulet {
namespace {

using MaskedTaskStateTest = MaskedCohort;

// A text that outgrows its memory leaves the secrets that it held there behind: its memory is then
// of twice the size.
TEST_F(MaskedTaskStateTest, IsWrittenIntoMemoryOfItsOwnSize) {
  const Credentials files = FilesOf("ada");
  const KeyPtr key = *ReadPrivateKey(files.key_pem);
  const auto peers = PeerCertificates::Make(files, {});
  ASSERT_TRUE(peers.ok()) << peers.status();
  secagg::KeySigner signer(*key);
  secagg::MemoryLedger ledger;
  const MaskingSelf self{(*peers)->self(), signer, **peers, ledger, policy_.masking};
  const auto task = MaskedTask::Begin(
      self, {"rnd-1", 1, 1, task_.state_sha256, task_.job_document, task_.masking});
  ASSERT_TRUE(task.ok()) << task.status();
  const std::string state = (*task)->Serialise();
  EXPECT_GT(state.size(), 512u);
  EXPECT_LE(state.capacity(), state.size() + 64);
}

}  // namespace
}  // namespace rivulet
