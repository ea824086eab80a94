// Federation: votes, of which every client has one a direction, whatever it sends.
#include "aggregation/scalars/scalar_replay.h"
#include "aggregation/upload/plain_upload.h"
#include "federation_fixture.h"

namespace rivulet {
namespace {

using Votes = std::vector<float>;

class VoteRoundTest : public FederationTest {
 protected:
  static JobSpec Spec(const std::string& codec) {
    JobSpec spec = ScalarToy();
    spec.job.num_rounds = 1;
    spec.train.max_steps = 3;
    spec.train.max_grad_norm = 0;
    spec.strategy.weighting = "uniform";
    spec.scalars.combine = "vote";
    spec.compression.codec = codec;
    spec.compression.error_feedback = false;
    return spec;
  }
  static ParameterSet UpdateOf(const JobSpec& spec, const Votes& votes) {
    ParameterSet update(UpdateManifestOf(spec, ToyManifest()));
    std::copy(votes.begin(), votes.end(), update.floats(0).begin());
    return update;
  }
  void Open(const JobSpec& spec) {
    Start(spec);
    Connect({"a", "b", "c"});
    id_ = Submit();
    OpenFirstRound();
  }
  absl::Status Send(const JobSpec& spec, const std::string& client, const Votes& votes) {
    const auto order = Take(client);
    ToyUpdate update{"", 1, UpdateOf(spec, votes)};
    update.file = SafetensorsBytes(update.delta);
    if (IsCoded(spec)) {
      const PublicContext shared(spec, update.delta.manifest(), 1, nullptr, nullptr);
      const std::unique_ptr<Codec> codec = *JobCodec(spec, update.delta.manifest());
      update.file = *codec->Encode(update.delta, shared.context());
    }
    return ToyUpload(*federation_, client, order.task, update).status();
  }
  // With the evaluation of the last state.
  JobView End() {
    federation_->Tick();
    OpenFirstRound();
    federation_->Tick();
    JobView view = Show(id_);
    EXPECT_EQ(view.state, JobState::kFinished) << view.reason;
    return view;
  }
  // The state after one round that moved by `moves`.
  static std::string HashAfter(const JobSpec& spec, const Votes& moves) {
    const ScalarForm form = *ScalarForm::Of(spec, ToyManifest());
    ParameterSet state = *ToyPlanner(spec)("toy")->initial({});
    EXPECT_TRUE(Replay(form, spec.strategy, *Extended(form, "", {1}, moves), state).ok());
    return state.HashHex();
  }

  std::string id_;
};

// A payload of codec "sign" has a scale of the client's own, up to 127: c says it 120 times.
TEST_F(VoteRoundTest, AScaleGivesNobodyASecondVote) {
  const JobSpec spec = Spec("sign");
  Open(spec);
  ASSERT_TRUE(Send(spec, "a", {1, -1, 1}).ok());
  ASSERT_TRUE(Send(spec, "b", {1, -1, -1}).ok());
  const absl::Status liar = Send(spec, "c", {-120, 120, 120});
  ASSERT_TRUE(liar.ok()) << liar;
  EXPECT_EQ(End().state_hash, HashAfter(spec, {1, -1, 1}));
}

TEST_F(VoteRoundTest, WithoutACodecWhatIsNoVoteIsRefused) {
  const JobSpec spec = Spec("none");
  Open(spec);
  const absl::Status liar = Send(spec, "c", {-1, 0, 120});
  EXPECT_EQ(liar.code(), absl::StatusCode::kInvalidArgument) << liar;
  EXPECT_NE(
      std::string(liar.message()).find("coefficients[2]: got 120.000000, want a vote: -1, 0 or 1"),
      std::string::npos)
      << liar;
  ASSERT_TRUE(Send(spec, "a", {1, -1, 0}).ok());
  ASSERT_TRUE(Send(spec, "b", {1, 0, -1}).ok());
  Pass(seconds(101));
  EXPECT_EQ(End().state_hash, HashAfter(spec, {1, -1, -1}));
}

}  // namespace
}  // namespace rivulet
