// Soft prompts by losses alone, on a small drawn llama.
#include "peft/zeroth_order/cma_es_run.h"

#include "common/formats/adapter_manifest.h"
#include "peft/model/base_model.h"
#include "peft/trainer/first_order_tuner.h"
#include "peft/zeroth_order/zeroth_order_tuner.h"
#include "tests/unit/peft/random_model.h"
#include "tests/unit/peft/side_by_side.h"

namespace rivulet {
namespace {

class PromptSearch : public ::testing::Test {
 protected:
  void SetUp() override {
    job_.method = "prompt";
    job_.prompt.num_virtual_tokens = 4;
    job_.prompt.subspace = 12;
    job_.train.estimator = "cma-es";
    job_.train.population = 10;
    job_.train.per_device_train_batch_size = 12;  // all of them
    job_.train.max_steps = 30;
    const auto base = LoadBaseModel(testing::RandomModel(testing::SmallLlama()), job_);
    ASSERT_TRUE(base.ok()) << base.status();
    base_ = *base;
    examples_ = testing::RandomExamples(12, 8, 14);
  }

  ParameterSet StateOf(const JobSpec& job) const {
    return *InitialState(*PlanAdapter(base_->config(), base_->match(), job), job.job.seed,
                         &base_->files());
  }
  TuneRequest RequestOf(const ParameterSet& state, const std::string& client) const {
    TuneRequest request;
    request.global = &state;
    request.examples = examples_;
    request.round = 3;
    request.client = client;
    return request;
  }
  // Mean losses before and after a round of `job`.
  std::pair<double, double> LossesOf(const JobSpec& job) const {
    const auto tuner = job.train.estimator == "backprop" ? MakeFirstOrderTuner(base_, job)
                                                         : MakeZerothOrderTuner(base_, job);
    EXPECT_TRUE(tuner.ok()) << tuner.status();
    ParameterSet state = StateOf(job);
    const auto mean = [&] {
      const auto sums = (*tuner)->Evaluate(state, examples_);
      EXPECT_TRUE(sums.ok()) << sums.status();
      return sums->loss / static_cast<double>(sums->counted);
    };
    const double before = mean();
    const auto result = (*tuner)->Tune(RequestOf(state, "a"));
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->steps, job.train.max_steps);
    for (size_t i = 0; i < state.size(); ++i) {
      for (size_t j = 0; j < state.floats(i).size(); ++j)
        state.floats(i)[j] += result->delta.floats(i)[j];
    }
    return {before, mean()};
  }

  JobSpec job_;
  std::shared_ptr<const BaseModel> base_;
  std::vector<Example> examples_;
};

// The seed is fixed: this holds for ever or not at all.
TEST_F(PromptSearch, TheLossFallsWithEveryEstimator) {
  const auto [before, searched] = LossesOf(job_);
  EXPECT_LT(searched, before - 0.02);
  job_.train.optimizer = "sgd";
  job_.train.max_grad_norm = 0;
  job_.train.max_steps = 100;
  job_.train.learning_rate = 0.05;
  job_.train.queries = 4;
  for (const int subspace : {0, 12}) {
    for (const char* estimator : {"backprop", "central"}) {
      job_.prompt.subspace = subspace;
      job_.train.estimator = estimator;
      const auto [from, to] = LossesOf(job_);
      EXPECT_LT(to, from - 0.02) << estimator << ", subspace " << subspace;
    }
  }
}

// A search written out once more: candidates of the client's root, losses by the evaluation that
// all tuners share.
TEST_F(PromptSearch, AStepIsThatOfTheSearchOverTheBatch) {
  job_.train.max_steps = 2;
  const ParameterSet state = StateOf(job_);
  const auto tuner = *MakeZerothOrderTuner(base_, job_);
  const auto result = tuner->Tune(RequestOf(state, "a"));
  ASSERT_TRUE(result.ok()) << result.status();
  CmaEs search(state.floats(0), {10, 1, RootOf(job_.job.seed, 3, "a")});
  for (int step = 0; step < 2; ++step) {
    std::vector<double> losses;
    for (int k = 0; k < 10; ++k) {
      ParameterSet point = state;
      search.Candidate(k, point.floats(0));
      losses.push_back(tuner->Evaluate(point, examples_)->loss);
    }
    search.Tell(losses);
  }
  // Sums of losses in another order of examples could swap two candidates that are equal to 1e-6 of
  // a loss; with this seed none are.
  for (size_t i = 0; i < 12; ++i) EXPECT_NEAR(result->delta.floats(0)[i], search.mean()[i], 1e-6);
}

TEST_F(PromptSearch, ClientsSideBySideGetTheBitsTheyGetAlone) {
  job_.train.max_steps = 3;
  const ParameterSet state = StateOf(job_);
  const auto tuner = *MakeZerothOrderTuner(base_, job_);
  std::vector<std::string> alone;
  std::vector<TuneRequest> requests;
  for (const char* client : {"a", "b", "c"}) {
    requests.push_back(RequestOf(state, client));
    alone.push_back(tuner->Tune(requests.back())->delta.HashHex());
  }
  EXPECT_EQ(testing::HashesSideBySide(*tuner, requests), alone);
  EXPECT_NE(alone[0], alone[1]);
}

TEST_F(PromptSearch, MoreNumbersThanACovarianceHoldsAreRefused) {
  job_.prompt.num_virtual_tokens = 40;
  job_.prompt.subspace = 0;
  EXPECT_EQ(MakeZerothOrderTuner(base_, job_).status().message(),
            "train.estimator: got \"cma-es\" for 1280 trained numbers, want at most 1024: a "
            "[prompt] with subspace = 1024 or less");
}

}  // namespace
}  // namespace rivulet
