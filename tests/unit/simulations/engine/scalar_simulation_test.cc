// Whole jobs whose updates are coefficients along shared directions.
#include <gtest/gtest.h>

#include "tests/unit/simulations/engine/letters.h"
#include "tests/unit/simulations/engine/lying_tuner.h"

namespace rivulet {
namespace {

JobSpec ScalarLetters(const std::string& estimator = "central") {
  JobSpec spec = testing::LetterJob();
  spec.job.num_rounds = 2;
  spec.data.held_out_max_blocks = 1;
  spec.lora.lora_r = 1;
  spec.train.estimator = estimator;
  spec.train.optimizer = "sgd";
  spec.train.max_grad_norm = 0;
  spec.train.max_steps = 5;
  spec.train.queries = 2;
  spec.train.learning_rate = 1e-3;
  spec.scalars.enabled = true;
  return spec;
}

JobSpec VotingLetters() {
  JobSpec spec = ScalarLetters();
  spec.scalars.combine = "vote";
  spec.strategy.weighting = "uniform";
  spec.train.queries = 1;
  spec.train.learning_rate = 2e-3;
  spec.compression.codec = "sign";
  spec.compression.error_feedback = false;
  return spec;
}

JobSpec Masked(JobSpec spec) {
  spec.job.min_clients = 4;
  spec.secure_aggregation.enabled = true;
  spec.secure_aggregation.range = 100;
  if (spec.scalars.combine != "vote") spec.compression.codec = "int8";
  return spec;
}

const std::vector<std::string> kTen = {"ann", "bob", "cid", "dan", "eve",
                                       "fay", "gus", "hal", "ian", "joe"};

JobView RunTen(const JobSpec& spec, TaskRunner::TunerFactory tuners = {}) {
  const auto count = static_cast<size_t>(spec.job.min_available_clients);
  return testing::RunLetters(
             spec, {kTen.begin(), kTen.begin() + count}, [](const JobEvent&) {}, std::move(tuners))
      .view;
}

struct ScalarCase {
  std::string name;
  JobSpec spec;
};
std::ostream& operator<<(std::ostream& out, const ScalarCase& one) { return out << one.name; }

std::vector<ScalarCase> ScalarCases() {
  std::vector<ScalarCase> cases;
  cases.push_back({"decomfl", ScalarLetters()});
  JobSpec pool = ScalarLetters();
  pool.scalars.pool = 256;
  cases.push_back({"fedkseed", pool});
  pool.scalars.pool_choice = "amplitude";
  cases.push_back({"fedkseed_pro", pool});
  cases.push_back({"feedsign", VotingLetters()});
  cases.push_back({"feedsign_masked", Masked(VotingLetters())});
  JobSpec split = ScalarLetters();
  split.scalars.splits = 2;
  cases.push_back({"spry", split});
  split.train.estimator = "forward";
  cases.push_back({"spry_forward", split});
  JobSpec ferret = ScalarLetters("backprop");
  ferret.train.queries = 1;
  ferret.train.max_steps = 4;
  ferret.train.optimizer = "adamw";
  ferret.scalars.directions = 2000;
  cases.push_back({"ferret", ferret});
  cases.push_back({"ferret_masked", Masked(ferret)});
  JobSpec baffle = ScalarLetters("one-sided");
  baffle.train.max_steps = 1;
  baffle.train.queries = 20;
  baffle.train.perturbation = 1e-3;
  baffle.train.learning_rate = 5e-3;
  cases.push_back({"baffle", baffle});
  cases.push_back({"baffle_masked", Masked(baffle)});
  JobSpec fzoo = ScalarLetters("fzoo");
  fzoo.train.queries = 4;
  fzoo.train.perturbation = 1e-3;
  fzoo.train.learning_rate = 3e-6;
  cases.push_back({"fzoo", fzoo});
  cases.push_back({"fzoo_masked", Masked(fzoo)});
  JobSpec lozo = ScalarLetters();
  lozo.train.direction = "low-rank";
  lozo.train.direction_rank = 2;
  lozo.train.direction_renewal = 10;
  cases.push_back({"lozo", lozo});
  JobSpec subzero = ScalarLetters();
  subzero.train.direction = "subspace";
  subzero.train.direction_rank = 4;
  subzero.train.direction_renewal = 10;
  cases.push_back({"subzero", subzero});
  cases.push_back({"subzero_masked", Masked(subzero)});
  JobSpec grzo = ScalarLetters("grzo");
  grzo.train.direction = "flipped";
  grzo.train.per_device_train_batch_size = 1;
  grzo.train.queries = grzo.train.gradient_accumulation_steps = 4;
  grzo.train.direction_renewal = 4;
  grzo.train.perturbation = 1e-3;
  grzo.train.learning_rate = 3e-6;
  cases.push_back({"grzo", grzo});
  cases.push_back({"grzo_masked", Masked(grzo)});
  cases.push_back({"masked", Masked(ScalarLetters())});
  JobSpec waiting = ScalarLetters();
  waiting.job.num_rounds = 4;
  waiting.train.max_steps = 1;
  waiting.train.queries = 8;
  waiting.train.learning_rate = 1e-2;
  waiting.scalars.target_ratio = 1.001;
  cases.push_back({"fwdllm", waiting});
  waiting.scalars.candidates = 4;
  cases.push_back({"fwdllm_chosen", waiting});
  waiting.scalars.candidates = 1;
  // 16 bits: by how much one client's rounding moves a ratio must not decide when there is a step.
  JobSpec waiting_masked = Masked(waiting);
  waiting_masked.compression.codec = "none";
  cases.push_back({"fwdllm_masked", waiting_masked});
  JobSpec mixed = ScalarLetters();
  mixed.simulate.backprop_share = 0.5;
  cases.push_back({"mixed", mixed});
  cases.push_back({"mixed_masked", Masked(mixed)});
  return cases;
}

class ScalarSimulation : public ::testing::TestWithParam<ScalarCase> {};

// The seed is fixed: it learns for ever or not at all, but for masked values, whose rounding is
// drawn from the session's fresh keys.
TEST_P(ScalarSimulation, LearnsFromCoefficientsAlone) {
  const JobView view = RunTen(GetParam().spec);
  ASSERT_EQ(view.state, JobState::kFinished) << view.reason;
  ASSERT_EQ(view.evaluations.size(), 2u);
  RecordProperty("bytes_up", std::to_string(view.bytes_up));
  RecordProperty("bytes_down", std::to_string(view.bytes_down));
  RecordProperty("loss_before", std::to_string(view.evaluations[0].loss));
  RecordProperty("loss_after", std::to_string(view.evaluations[1].loss));
  EXPECT_LT(view.evaluations[1].loss, view.evaluations[0].loss);
  EXPECT_LT(view.bytes_up, 0.3 * static_cast<double>(view.raw_bytes_up));
  EXPECT_LT(view.bytes_down, 0.3 * static_cast<double>(view.raw_bytes_up));
}

INSTANTIATE_TEST_SUITE_P(Methods, ScalarSimulation, ::testing::ValuesIn(ScalarCases()),
                         [](const auto& info) { return info.param.name; });

TEST(ScalarSimulations, CanBeRepeatedToTheLastBit) {
  JobSpec spec = ScalarLetters();
  spec.train.max_steps = 2;
  const JobView one = RunTen(spec), other = RunTen(spec);
  EXPECT_EQ(one.state_hash.size(), 64u);
  EXPECT_EQ(one.state_hash, other.state_hash);
}

// Nothing of a vote is rounded: masks change no bit of the result.
TEST(ScalarSimulations, VotesReachTheSameStateUnderMasks) {
  JobSpec spec = VotingLetters();
  spec.train.max_steps = 2;
  const JobView plain = RunTen(spec), masked = RunTen(Masked(spec));
  EXPECT_EQ(plain.state_hash.size(), 64u);
  EXPECT_EQ(masked.state_hash, plain.state_hash);
}

// Keys are fresh in every run. A client's replay is checked against the state's hash in each.
TEST(ScalarSimulations, DirectionsOfSessionsAreOthersInEveryRun) {
  JobSpec spec = Masked(ScalarLetters());
  spec.train.max_steps = 2;
  spec.scalars.drawn_from = "session";
  const JobView one = RunTen(spec), other = RunTen(spec);
  for (const JobView* view : {&one, &other}) {
    ASSERT_EQ(view->state, JobState::kFinished) << view->reason;
    ASSERT_EQ(view->evaluations.size(), 2u);
    EXPECT_NE(view->evaluations[1].loss, view->evaluations[0].loss);
  }
  EXPECT_NE(one.state_hash, other.state_hash);
}

// Two of ten send ten times the opposite: the median of each coefficient stays within 5 % of the
// loss without them and learns at least three quarters as much, the mean does not learn at all.
TEST(ScalarSimulations, TheMedianOfCoefficientsBearsLiars) {
  JobSpec spec = ScalarLetters();
  spec.job.min_available_clients = 10;
  const JobView clean = RunTen(spec);
  const auto lying = testing::LyingTuners({"bob", "joe"}, -10);
  const JobView mean = RunTen(spec, lying);
  spec.robust.rule = "median";
  spec.robust.faulty = 2;
  const JobView median = RunTen(spec, lying);
  for (const JobView* view : {&clean, &mean, &median}) {
    ASSERT_EQ(view->state, JobState::kFinished) << view->reason;
  }
  RecordProperty("loss_clean", std::to_string(clean.evaluations[1].loss));
  RecordProperty("loss_mean", std::to_string(mean.evaluations[1].loss));
  RecordProperty("loss_median", std::to_string(median.evaluations[1].loss));
  EXPECT_LT(clean.evaluations[1].loss, clean.evaluations[0].loss);
  EXPECT_GT(mean.evaluations[1].loss, mean.evaluations[0].loss);
  EXPECT_LT(median.evaluations[1].loss, 1.05 * clean.evaluations[1].loss);
  const double before = clean.evaluations[0].loss;
  EXPECT_GT(before - median.evaluations[1].loss, 0.75 * (before - clean.evaluations[1].loss));
}

}  // namespace
}  // namespace rivulet
