// Rounds under masks in the federation: what is summed, who may vanish when, and restarts.
#include <gmock/gmock.h>

#include <cmath>

#include "masked_fixture.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

class MaskedRounds : public MaskedFederationTest {
 protected:
  void RunOneRound(const std::vector<std::string>& survivors) {
    JobSpec spec = MaskedToySpec();
    spec.job.num_rounds = 1;
    spec.job.min_available_clients = 6;
    StartPrivate(spec);
    ConnectMembers(kSix);
    job_ = Submit();
    const JobView view = Run(job_);
    ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
    EXPECT_EQ(view.rounds.back().reported, survivors);
    ExpectMeanOf(survivors);
  }
  void ExpectMeanOf(const std::vector<std::string>& survivors) {
    const ParameterSet first = *ToyPlanner(spec_)("toy")->initial(ParameterSet());
    const std::string state = Sha256Hex(SafetensorsBytes(first));
    ParameterSet want = PlainMean(survivors, 1, state);
    for (size_t row = 0; row < want.size(); ++row) {
      for (size_t at = 0; at < want.floats(row).size(); ++at) {
        want.floats(row)[at] += first.floats(row)[at];
      }
    }
    EXPECT_LT(LargestDifference(StateOf(*federation_, *blobs_, job_), want), StepOf(spec_));
  }
  std::string job_;
};

TEST_F(MaskedRounds, TheSumIsThatOfAllWhenNobodyVanishes) { RunOneRound(kSix); }

TEST_F(MaskedRounds, FiguresAreSumsFromInsideTheMask) {
  RunOneRound(kSix);
  const RoundView round = Show(job_).rounds.back();
  int64_t tokens = 0;
  const ParameterSet first = *ToyPlanner(spec_)("toy")->initial(ParameterSet());
  for (const std::string& client : kSix) {
    tokens += ToyTrain(client, 1, Sha256Hex(SafetensorsBytes(first))).tokens;
  }
  EXPECT_EQ(round.figures.tokens, tokens);
  EXPECT_EQ(round.figures.examples, 6);
  EXPECT_NEAR(round.figures.loss, 2, 1e-4);
}

// The fixture counts what the clients say.
TEST_F(MaskedRounds, BytesOfTheProtocolAreCountedBesideTheUpdates) {
  RunOneRound(kSix);
  const JobView view = Show(job_);
  EXPECT_GT(said_bytes_, 0);
  EXPECT_EQ(view.protocol_bytes_up, said_bytes_);
  EXPECT_EQ(view.rounds.back().figures.protocol_bytes_up, said_bytes_);
  int64_t uploads = 0;
  for (const std::string& client : kSix) {
    uploads += static_cast<int64_t>(members_.Of(client).sent.size());
  }
  EXPECT_EQ(view.bytes_up, uploads);
  RestartPrivate();
  EXPECT_EQ(Show(job_).protocol_bytes_up, said_bytes_);
}

TEST_F(MaskedRounds, AClientThatSendsNoKeysIsLeftOut) {
  vanish_["c"] = Vanishes::kBeforeKeys;
  RunOneRound({"a", "b", "d", "e", "f"});
}

TEST_F(MaskedRounds, AClientThatSharesNothingIsLeftOut) {
  vanish_["c"] = Vanishes::kAfterKeys;
  RunOneRound({"a", "b", "d", "e", "f"});
}

TEST_F(MaskedRounds, OneThatVanishesAfterItsUploadStillCounts) {
  vanish_["c"] = Vanishes::kAfterUpload;
  RunOneRound(kSix);
}

TEST_F(MaskedRounds, OneThatVanishesBeforeUnmaskingStillCounts) {
  vanish_["c"] = Vanishes::kAfterEndorsing;
  RunOneRound(kSix);
}

// Its masks are taken out of the sum by the shares that the others hold.
TEST_F(MaskedRounds, OneThatVanishesBeforeItsUploadIsTakenOutOfTheSum) {
  vanish_["c"] = Vanishes::kAfterShares;
  RunOneRound({"a", "b", "d", "e", "f"});
}

TEST_F(MaskedRounds, TwoOfSixMayVanish) {
  vanish_["b"] = Vanishes::kAfterShares;
  vanish_["e"] = Vanishes::kAfterEndorsing;
  RunOneRound({"a", "c", "d", "e", "f"});
}

// n = 80 of mode 0, whose complete graphs end at 64: nonces first, then shares to a few neighbours.
TEST_F(MaskedRounds, EightyOfASemiHonestCoordinatorAreARing) {
  JobSpec spec = MaskedToySpec();
  spec.job.num_rounds = 1;
  spec.job.min_available_clients = 80;
  spec.secure_aggregation.mode = "semi-honest";
  std::vector<std::string> names;
  for (int number = 100; number < 180; ++number) names.push_back("c" + std::to_string(number));
  for (const std::string& name : names) {
    secagg::ClientPolicy& policy = members_.Of(name).self.policy;
    policy.mode_min = 0;
    policy.ring = true;
  }
  vanish_ = {{"c103", Vanishes::kBeforeKeys},
             {"c117", Vanishes::kAfterShares},
             {"c130", Vanishes::kAfterShares},
             {"c179", Vanishes::kAfterEndorsing}};  // mode 0 asks for none: it stays
  StartPrivate(spec);
  ConnectMembers(names);
  job_ = Submit();
  const JobView view = Run(job_);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  std::vector<std::string> survivors;
  for (const std::string& name : names) {
    if (name != "c103" && name != "c117" && name != "c130") survivors.push_back(name);
  }
  EXPECT_EQ(view.rounds.back().reported, survivors);
  EXPECT_EQ(masked_.told.count(secagg::MessageKind::kNonces), 1u);
  EXPECT_EQ(masked_.told.count(secagg::MessageKind::kUnmaskRequest), 1u);
  EXPECT_EQ(masked_.told.count(secagg::MessageKind::kEndorsements), 0u);
  ExpectMeanOf(survivors);
}

// Who it is says the connection; its certificate may be another one than it began with.
class MaskedRenewal : public MaskedRounds, public testing::WithParamInterface<int> {};

TEST_P(MaskedRenewal, AMemberWhoseCertificateWasRenewedGoesOn) {
  JobSpec spec = MaskedToySpec();
  spec.job.num_rounds = 1;
  StartPrivate(spec);
  ConnectMembers(kSix);
  job_ = Submit();
  while (!masked_.rosters.contains("c")) ASSERT_TRUE(Once());
  for (int step = 0; step < GetParam(); ++step) (void)Once();
  ReconnectRenewed("c");
  const JobView view = Run(job_);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  EXPECT_EQ(view.rounds.back().reported, kSix);
  ExpectMeanOf(kSix);
}

// All the steps of an attempt from its roster on.
INSTANTIATE_TEST_SUITE_P(AfterSteps, MaskedRenewal, testing::Range(0, 32, 1));

TEST_F(MaskedRounds, ARosterComesWithTheCertificatesThatItNames) {
  StartPrivate(MaskedToySpec());
  ConnectMembers(kSix);
  job_ = Submit();
  while (!masked_.rosters.contains("d")) ASSERT_TRUE(Once());
  ReconnectRenewed("c");
  masked_.messages.clear();
  ConnectMembers({"d"});
  ASSERT_FALSE(masked_.messages.empty());
  EXPECT_THAT(
      masked_.messages.front().second.certificates,
      testing::UnorderedElementsAre("certificate of a", "certificate of b", "certificate of c",
                                    "certificate of d", "certificate of e", "certificate of f"));
}

TEST_F(MaskedRounds, BelowTheThresholdNothingIsOpenedAndTheJobSaysWhy) {
  for (const char* client : {"b", "c", "d"}) vanish_[client] = Vanishes::kAfterKeys;
  StartPrivate(MaskedToySpec());
  ConnectMembers(kSix);
  const JobView view = Run(Submit());
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_EQ(view.round, 0u);
  EXPECT_EQ(view.exit_code, static_cast<int>(ExitCode::kJobFailed));
  EXPECT_THAT(view.rounds.back().reason, HasSubstr("clients failed"));
}

// Shares were given; without the rest the round can neither be opened nor repeated.
TEST_F(MaskedRounds, ARoundWhoseSharesWereGivenIsNotRepeated) {
  for (const char* client : {"a", "b", "c", "d"}) vanish_[client] = Vanishes::kAfterEndorsing;
  StartPrivate(MaskedToySpec());
  ConnectMembers(kSix);
  const JobView view = Run(Submit());
  EXPECT_EQ(view.state, JobState::kFailed);
  EXPECT_THAT(view.reason, HasSubstr("cannot be repeated"));
  EXPECT_EQ(view.rounds.size(), 1u);
}

TEST_F(MaskedRounds, AClientWithoutCertificateIsNotEligible) {
  StartPrivate(MaskedToySpec());
  ConnectMembers({"a", "b", "c", "d", "e"});
  federation_->Connected(ToyClient("f"));
  const std::string job = Submit();
  while (Once()) {
  }
  EXPECT_EQ(Show(job).eligible_connected, 5);
}

TEST_F(MaskedRounds, TwoRoundsHaveKeysOfTheirOwn) {
  StartPrivate(MaskedToySpec());
  ConnectMembers(kSix);
  const JobView view = Run(Submit());
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  EXPECT_EQ(view.round, 2u);
  // Only what came when enough had been said.
  for (const std::string& refusal : refused_) {
    EXPECT_THAT(refusal, testing::AnyOf(HasSubstr("the phase is over"), HasSubstr("is not open")));
  }
}

// A coordinator killed after any number of steps goes on to the same clients' sum.
class MaskedRestart : public MaskedRounds, public testing::WithParamInterface<int> {};

TEST_P(MaskedRestart, GoesOnToTheEnd) {
  JobSpec spec = MaskedToySpec();
  spec.job.num_rounds = 1;
  StartPrivate(spec);
  ConnectMembers(kSix);
  job_ = Submit();
  for (int step = 0; step < GetParam(); ++step) (void)Once();
  RestartPrivate();
  ConnectMembers(kSix);
  const JobView view = Run(job_);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
  EXPECT_EQ(view.rounds.back().reported, kSix);
  ExpectMeanOf(kSix);
}

INSTANTIATE_TEST_SUITE_P(AfterSteps, MaskedRestart, testing::Range(6, 44, 1));

}  // namespace
}  // namespace rivulet
