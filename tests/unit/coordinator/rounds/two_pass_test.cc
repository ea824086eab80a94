// Codec power-sgd in the federation: two rounds a step, whoever vanishes and whenever it restarts.
#include <gmock/gmock.h>

#include <cmath>

#include "aggregation/codec/low_rank_parts.h"
#include "client/upload/update_encoder.h"
#include "common/formats/safetensors.h"
#include "masked_fixture.h"
#include "privacy/masking/first_pass.h"
#include "simulations/rounding/seeded_rounding.h"

namespace rivulet {
namespace {

using testing::Contains;
using testing::HasSubstr;

const std::vector<std::string> kFive = {"a", "b", "c", "d", "e"};

JobSpec TwoPassSpec(int rounds = 2) {
  JobSpec spec = MaskedToySpec();
  spec.job.num_rounds = rounds;
  spec.compression.codec = "power-sgd";
  spec.compression.rank = 1;
  spec.compression.bits = 16;
  return spec;
}

double NormOf(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += double{value} * value;
  return std::sqrt(sum);
}

ParameterSet Plus(ParameterSet a, const ParameterSet& b, float scale = 1) {
  for (size_t row = 0; row < a.size(); ++row) {
    for (size_t at = 0; at < a.floats(row).size(); ++at) {
      a.floats(row)[at] += scale * b.floats(row)[at];
    }
  }
  return a;
}

class TwoPassRounds : public MaskedFederationTest {
 protected:
  void Open(const JobSpec& spec) {
    for (const std::string& name : kSix) {
      members_.Of(name).self.rounding = SeededRounding();
      members_.Of(name).self.name = name;
    }
    StartPrivate(spec);
    ConnectMembers(kSix);
    job_ = Submit();
    first_ = *ToyPlanner(spec_)("toy")->initial(ParameterSet());
  }
  void RunUntilRound(uint64_t round) {
    while (Show(job_).round < round) ASSERT_TRUE(Once());
  }
  std::vector<ModelRecord> Models() { return states_->Load()->models; }

  // As TaskRunner does.
  absl::Status Prepare(const std::string& client, LocalUpdate& update) override {
    const ClientTask& order = *members_.Of(client).order;
    const UploadKey upload{order.job_id, client, order.round, order.attempt};
    if (order.round % 2 == 1) {
      EXPECT_FALSE(order.log.has_value());
      const ParameterSet state(ToyManifest());
      RV_ASSIGN_OR_RETURN(
          update.masked, encoder_.ForMasking(upload, {state, order.state_sha256}, true, false, {}));
      update.masked.moves.clear();
      return absl::OkStatus();
    }
    const auto reader = federation_->OpenState(client, order.log->sha256);
    EXPECT_TRUE(reader.ok()) << reader.status();
    std::vector<float> mean((*reader)->size() / sizeof(float));
    RV_RETURN_IF_ERROR((*reader)->Read(0, std::as_writable_bytes(std::span(mean))));
    if (forgetful_.contains(client)) return absl::FailedPreconditionError("nothing is kept");
    RV_ASSIGN_OR_RETURN(ParameterSet kept, encoder_.Kept(upload, ToyManifest()));
    const MaskedForm form = *MaskedForm::Of(spec_, ToyManifest());
    RV_RETURN_IF_ERROR(TakeOutFirstPass(form, order.round, mean, kept));
    update = LocalUpdate{SafetensorsBytes(ParameterSet(ToyManifest()))};
    update.masked.residual = std::move(kept);
    update.masked.moves = order.state_sha256;
    update.masked.first_pass = std::make_shared<const std::vector<float>>(std::move(mean));
    return absl::OkStatus();
  }
  void Sent(const std::string& client, const LocalUpdate& update, bool taken) override {
    const ClientTask& order = *members_.Of(client).order;
    const UploadKey upload{order.job_id, client, order.round, order.attempt};
    encoder_.Propose(upload, update.masked.moves, *update.masked.residual);
    if (taken) encoder_.Accepted(upload);
  }

  ParameterSet MeanOf(const std::vector<std::string>& clients, uint64_t round = 1) {
    return PlainMean(clients, round, Models().front().sha256);
  }
  std::vector<float> StartOf(uint64_t round) const {  // q, of two columns
    const LowRankPart part = LowRankPartsOf(ToyManifest(), 1)[1];
    return PublicFactor(part, 1, RootOf(spec_.job.seed, round, ""), round);
  }
  static std::vector<float> Times(const ParameterSet& update, const std::vector<float>& q) {
    std::vector<float> product(3);
    for (size_t row = 0; row < 3; ++row) {
      const float* const one = update.floats(1).data() + 2 * row;
      product[row] = one[0] * q[0] + one[1] * q[1];
    }
    return product;
  }
  // p p^T M, p = `first` q / |`first` q|: what rank 1 has of an update, `first` the mean of the
  // first pass, which was in this round.
  ParameterSet Along(const ParameterSet& first, ParameterSet update, uint64_t round = 1) const {
    std::vector<float> p = Times(first, StartOf(round));
    const auto norm = static_cast<float>(NormOf(p));
    for (float& value : p) value /= norm;
    const auto values = update.floats(1);
    for (size_t column : {0, 1}) {
      const float right =
          p[0] * values[column] + p[1] * values[2 + column] + p[2] * values[4 + column];
      for (size_t row = 0; row < 3; ++row) values[2 * row + column] = p[row] * right;
    }
    return update;
  }
  // In the space of q the mean of the first pass, elsewhere that of the second.
  ParameterSet Moved(const ParameterSet& first, const ParameterSet& second, uint64_t round = 1) {
    const std::vector<float> q = StartOf(round), one = Times(first, q), other = Times(second, q);
    ParameterSet mixed = second;
    for (size_t row = 0; row < 3; ++row) {
      for (size_t column : {0, 1}) {
        mixed.floats(1)[2 * row + column] += (one[row] - other[row]) * q[column];
      }
    }
    // The lattice moves p by a step in each number at most, and the product by so much of M; twice
    // for p at both sides of it.
    error_ = StepOf(spec_) * (2 + 2 * std::sqrt(3.0) * NormOf(mixed.floats(1)) / NormOf(one));
    return Along(first, mixed, round);
  }
  void ExpectMovedBy(const ParameterSet& step) {
    EXPECT_LT(LargestDifference(StateOf(*federation_, *blobs_, job_), Plus(first_, step)), error_);
    EXPECT_LT(error_, 0.02);
  }
  JobView Finish() {
    const JobView view = Run(job_);
    EXPECT_EQ(view.state, JobState::kFinished) << view.reason << testing::PrintToString(refused_);
    return view;
  }

  std::string job_;
  ParameterSet first_;
  UpdateEncoder encoder_;
  std::set<std::string> forgetful_;
  double error_ = 0;
};

TEST_F(TwoPassRounds, AStepIsPowerSgdOfTheMean) {
  Open(TwoPassSpec());
  const JobView view = Finish();
  const ParameterSet mean = MeanOf(kSix);
  ExpectMovedBy(Moved(mean, mean));
  const std::vector<ModelRecord> models = Models();
  ASSERT_EQ(models.size(), 3u);
  EXPECT_EQ(models[1].sha256, models[0].sha256);  // nothing moves between the passes
  EXPECT_EQ(models[1].log_bytes, 3 * sizeof(float));
  EXPECT_TRUE(models[2].log_sha256.empty());
  EXPECT_NE(models[2].sha256, models[0].sha256);
  ASSERT_EQ(view.rounds.size(), 2u);
  EXPECT_GT(view.rounds[0].figures.tokens, 0);
  EXPECT_EQ(view.rounds[1].figures.tokens, 0);  // nobody trains
  EXPECT_EQ(view.rounds[1].figures.loss, view.rounds[0].figures.loss);
}

TEST_F(TwoPassRounds, WhatASecondPassLeavesGoesIntoTheNextPair) {
  Open(TwoPassSpec(4));
  RunUntilRound(2);
  const ParameterSet mean = MeanOf(kSix), step = Moved(mean, mean);
  const std::string second_state = Models().back().sha256;
  const double error = error_;
  Finish();
  const ParameterSet next = Plus(Plus(PlainMean(kSix, 3, second_state), mean), step, -1);
  const ParameterSet more = Moved(next, next, 3);
  error_ = 3 * (error_ + error);  // of the first pair, in the state and in what was left
  ExpectMovedBy(Plus(step, more));
}

TEST_F(TwoPassRounds, WhoVanishesInTheSecondPassIsInTheSumOfTheFirstAlone) {
  Open(TwoPassSpec());
  RunUntilRound(1);
  vanish_["f"] = Vanishes::kAfterShares;
  const JobView view = Finish();
  EXPECT_EQ(view.rounds[0].reported, kSix);
  EXPECT_EQ(view.rounds[1].reported, kFive);
  ExpectMovedBy(Moved(MeanOf(kSix), MeanOf(kFive)));
}

// f sends all of its update again, what the first sum had of it too.
TEST_F(TwoPassRounds, WhoVanishesInTheSecondPassSendsItsUpdateWithTheNextPair) {
  Open(TwoPassSpec(4));
  RunUntilRound(1);
  vanish_["f"] = Vanishes::kAfterShares;
  for (int step = 0; step < 5000 && Show(job_).round < 2; ++step) {
    if (!Once()) clock_.Advance(seconds(5));
  }
  vanish_.clear();
  const std::string second_state = Models().back().sha256;
  Finish();
  const ParameterSet mean = MeanOf(kSix), five = MeanOf(kFive), step = Moved(mean, five);
  const double error = error_;
  const ParameterSet left = Plus(five, Along(mean, five), -1);
  const ParameterSet next =
      Plus(Plus(PlainMean(kSix, 3, second_state), left, 5 / 6.0f), MeanOf({"f"}), 1 / 6.0f);
  const ParameterSet more = Moved(next, next, 3);
  error_ = 3 * (error_ + error);  // of the first pair, in the state and in what was left
  ExpectMovedBy(Plus(step, more));
}

TEST_F(TwoPassRounds, WhoVanishesInTheFirstPassIsNotAskedForTheSecond) {
  Open(TwoPassSpec());
  vanish_["f"] = Vanishes::kAfterKeys;
  for (int step = 0; step < 5000 && Show(job_).round < 1; ++step) {
    if (!Once()) clock_.Advance(seconds(5));
  }
  vanish_.clear();
  const JobView view = Finish();
  EXPECT_EQ(view.rounds[1].cohort, kFive);
  EXPECT_EQ(view.rounds[1].reported, kFive);
  ExpectMovedBy(Moved(MeanOf(kFive), MeanOf(kFive)));
}

TEST_F(TwoPassRounds, AClientThatHasForgottenItsUpdateDropsOutAndSaysSo) {
  forgetful_ = {"f"};
  Open(TwoPassSpec());
  const JobView view = Finish();
  EXPECT_EQ(view.rounds[1].cohort, kSix);
  EXPECT_EQ(view.rounds[1].reported, kFive);
  EXPECT_THAT(view.rounds[1].failed, Contains(HasSubstr("f")));
  ExpectMovedBy(Moved(MeanOf(kSix), MeanOf(kFive)));
}

// Three of six are silent three times: nothing moves, and the next pair has the updates of all,
// whether parts of them had been acknowledged or not.
class TwoPassLost : public TwoPassRounds, public testing::WithParamInterface<Vanishes> {};

TEST_P(TwoPassLost, ASecondPassThatCannotBeMadeTakesNothing) {
  Open(TwoPassSpec(4));
  RunUntilRound(1);
  for (const char* name : {"d", "e", "f"}) vanish_[name] = GetParam();
  for (int step = 0; step < 5000 && Show(job_).round < 2; ++step) {
    if (!Once()) clock_.Advance(seconds(5));
  }
  ASSERT_EQ(Show(job_).round, 2u);
  vanish_.clear();
  EXPECT_EQ(Models()[2].sha256, Models()[0].sha256);
  EXPECT_TRUE(Models()[2].log_sha256.empty());
  RestartPrivate();
  ConnectMembers(kSix);
  Finish();
  const ParameterSet mean = Plus(MeanOf(kSix, 1), MeanOf(kSix, 3));
  ExpectMovedBy(Moved(mean, mean, 3));
}

INSTANTIATE_TEST_SUITE_P(Before, TwoPassLost,
                         testing::Values(Vanishes::kBeforeKeys, Vanishes::kAfterUpload));

// The coordinator of a second pass that is told another mean would be told another sum.
TEST_F(TwoPassRounds, ClientsAreBoundToOneMeanOfTheFirstPass) {
  Open(TwoPassSpec());
  RunUntilRound(1);
  const auto second = [&]() -> const ClientTask* {
    for (const auto& order : masked_.orders) {
      if (order.task.round == 2) return &order.task;
    }
    return nullptr;
  };
  while (second() == nullptr) ASSERT_TRUE(Once());
  const ClientTask order = *second();
  const MaskedForm form = *MaskedForm::Of(spec_, ToyManifest());
  MaskedTaskFacts facts{order.job_id,       order.round,   order.attempt,    order.state_sha256,
                        order.job_document, order.masking, order.log->sha256};
  ToyMembers others;
  const auto begin = [&] { return MaskedTask::Begin(others.Of("a").self, facts, form).status(); };
  EXPECT_TRUE(begin().ok()) << begin();
  facts.log_sha256 = Models()[0].sha256;
  EXPECT_THAT(std::string(begin().message()), HasSubstr("not those of the job"));
  facts.log_sha256.clear();
  EXPECT_THAT(std::string(begin().message()), HasSubstr("got no mean of a first pass in round 2"));
  facts.log_sha256 = order.log->sha256;
  facts.round = 3;
  EXPECT_THAT(std::string(begin().message()), HasSubstr("got a mean of a first pass in round 3"));
}

// A coordinator killed after any number of steps, within a pass or between two.
class TwoPassRestart : public TwoPassRounds, public testing::WithParamInterface<int> {};

TEST_P(TwoPassRestart, GoesOnToTheSameState) {
  Open(TwoPassSpec());
  for (int step = 0; step < GetParam(); ++step) (void)Once();
  RestartPrivate();
  ConnectMembers(kSix);
  const JobView view = Finish();
  for (const RoundView& round : view.rounds) {
    if (round.state != RoundState::kDone) continue;
    EXPECT_EQ(round.reported, kSix);
  }
  const ParameterSet mean = MeanOf(kSix);
  ExpectMovedBy(Moved(mean, mean));
  if (view.rounds.size() > 2) return;  // an attempt began anew, and rounds by other words
  static std::string undisturbed;
  if (undisturbed.empty()) undisturbed = view.state_hash;
  EXPECT_EQ(view.state_hash, undisturbed);
}

INSTANTIATE_TEST_SUITE_P(AfterSteps, TwoPassRestart, testing::Range(0, 96, 3));

}  // namespace
}  // namespace rivulet
