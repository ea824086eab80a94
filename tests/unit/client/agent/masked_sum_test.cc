// What the coordinator reads of a session is, bit for bit, the sum of what the clients would have
// sent without masks. Values of up to 12 bits are rotated by a key of the session, so that no other
// run has the hash of this one: the plain sum is made from the same session. Of power-sgd it is the
// first pass; its two means together: tests/unit/coordinator/rounds/two_pass_test.cc.
#include <gtest/gtest.h>

#include "common/formats/safetensors.h"
#include "common/job/validate_private.h"
#include "privacy/masking/masked_vector.h"
#include "simulations/rounding/seeded_rounding.h"
#include "tests/unit/client/agent/masked_cohort.h"

namespace rivulet {
namespace {

class MaskedSum : public MaskedCohort, public testing::WithParamInterface<const char*> {
 protected:
  // One client's integers, encoded once more outside of its session.
  secagg::RingVector PlainVectorOf(const std::string& name) {
    const LocalUpdate update = UpdateOf(name);
    const MaskedForm form = *MaskedForm::Of(document_.spec, manifest_);
    const auto& session = round_->session();
    const auto maps = form.MapsOf(task_.key.round, session.sid0(), session.sid(), {});
    const UploadKey upload{task_.key.job, name, task_.key.round, task_.key.attempt};
    auto encoded = EncodeUpdate(
        form, *maps, round_->params(), *ReadParameterSet(update.file, &manifest_),
        form.WeightOf(update.tokens), {update.examples, update.tokens, update.steps, update.loss},
        SystemEntropy(), *rounding_(upload, document_.spec.job.seed), nullptr);
    EXPECT_TRUE(encoded.ok()) << encoded.status();
    return encoded->vector;
  }
};

TEST_P(MaskedSum, OfASessionIsThePlainSumOfTheSameRun) {
  document_.spec.compression.codec = GetParam();
  if (InTwoPasses(document_.spec)) document_.spec.compression.rank = 1;  // the factors have 2
  rounding_ = SeededRounding();
  Invite(1);
  BeginAll();
  CarryAll();
  const std::vector<std::string> up = {"ada", "bob", "cid", "eve"};  // dee's masks are taken out
  UploadAll(up);
  Post(round_->Freeze(up, now_));
  CarryAll();
  ASSERT_TRUE(opened_);
  const secagg::Params& params = round_->params();
  secagg::RingVector masked(params.b, params.length());
  for (const std::string& name : up) {
    const std::string_view packed = std::string_view(files_[name]).substr(0, params.packed_bytes());
    ASSERT_TRUE(masked.AddPacked(packed).ok());
  }
  const auto sum = round_->Open(masked, 1);
  ASSERT_TRUE(sum.ok()) << sum.status();

  const size_t read = params.length() - secagg::kChecksums;
  std::vector<int64_t> plain(read);
  for (const std::string& name : up) {
    const secagg::RingVector vector = PlainVectorOf(name);
    for (size_t at = 0; at < read; ++at) plain[at] += vector.SignedAt(at);
  }
  std::vector<int64_t> unmasked(read);
  size_t moved = 0;
  for (size_t at = 0; at < read; ++at) {
    unmasked[at] = sum->SignedAt(at);
    moved += unmasked[at] != 0;
  }
  EXPECT_EQ(unmasked, plain);
  EXPECT_GT(moved, read / 4);
}

INSTANTIATE_TEST_SUITE_P(Codecs, MaskedSum,
                         testing::Values("random-k", "public-top-k", "count-sketch", "low-rank",
                                         "rotate-lattice", "drive", "int8", "none", "power-sgd"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace rivulet
