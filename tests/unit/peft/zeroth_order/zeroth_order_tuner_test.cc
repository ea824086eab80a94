// Steps from losses alone, on a small drawn llama.
#include "peft/zeroth_order/zeroth_order_tuner.h"

#include <cmath>

#include "common/direction/directions.h"
#include "common/formats/adapter_manifest.h"
#include "common/scalars/pool_choice.h"
#include "peft/model/base_model.h"
#include "peft/trainer/first_order_tuner.h"
#include "tests/unit/peft/random_model.h"
#include "tests/unit/peft/side_by_side.h"

namespace rivulet {
namespace {

class ZerothOrder : public ::testing::Test {
 protected:
  void SetUp() override {
    job_.lora.lora_target_modules = {"all-linear"};
    job_.lora.lora_r = 2;
    job_.lora.lora_dropout = 0;
    job_.train.estimator = "central";
    job_.train.optimizer = "sgd";
    job_.train.max_grad_norm = 0;
    job_.train.per_device_train_batch_size = 12;  // all of them
    job_.train.max_steps = 1;
    const auto base = LoadBaseModel(testing::RandomModel(testing::SmallLlama()), job_);
    ASSERT_TRUE(base.ok()) << base.status();
    base_ = *base;
    const auto plan = PlanAdapter(base_->config(), base_->match(), job_);
    ASSERT_TRUE(plan.ok()) << plan.status();
    state_ = testing::Moved(*InitialState(*plan, 1));
    examples_ = testing::RandomExamples(12, 8, 14);
  }

  TuneRequest RequestOf(const std::string& client) const {
    TuneRequest request;
    request.global = &state_;
    request.examples = examples_;
    request.round = 3;
    request.client = client;
    return request;
  }
  TuneResult TuneWith(const JobSpec& job, const std::string& client = "a") const {
    auto result = (*MakeZerothOrderTuner(base_, job))->Tune(RequestOf(client));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? std::move(*result) : TuneResult{};
  }
  double MeanLoss(const ParameterSet& state) const {
    const auto sums = (*MakeFirstOrderTuner(base_, job_))->Evaluate(state, examples_);
    EXPECT_TRUE(sums.ok()) << sums.status();
    return sums->loss / static_cast<double>(sums->counted);
  }
  ParameterSet Plus(const ParameterSet& delta) const {
    ParameterSet sum = state_;
    for (size_t i = 0; i < sum.size(); ++i) {
      for (size_t j = 0; j < sum.floats(i).size(); ++j) sum.floats(i)[j] += delta.floats(i)[j];
    }
    return sum;
  }

  // The slope along a direction that losses measure is that of backpropagation's gradient: plain
  // gradient descent at rate 1 moves by minus the gradient.
  void ExpectSlopesOfBackpropagation() {
    JobSpec backprop = job_;
    backprop.train.estimator = "backprop";
    backprop.train.learning_rate = 1;
    const auto exact = (*MakeFirstOrderTuner(base_, backprop))->Tune(RequestOf("a"));
    ASSERT_TRUE(exact.ok()) << exact.status();
    const std::vector<TensorPart> parts = PartsOf(state_.manifest());
    for (const char* direction : {"rademacher", "low-rank"}) {
      job_.train.direction = direction;
      job_.train.perturbation = 1e-3;
      const DirectionKind kind =
          direction[0] == 'r' ? DirectionKind::kRademacher : DirectionKind::kLowRank;
      const auto z = MakeDirection({kind}, RootOf(job_.job.seed, 3, "a"), 0);
      double slope = 0;
      for (size_t i = 0; i < parts.size(); ++i) {
        slope -= DotDirection(*z, parts[i], exact->delta.floats(i));
      }
      // Third derivatives and the rounding of two losses of about 5 at a width of 1e-3.
      EXPECT_NEAR(TuneWith(job_).grad_norm, std::abs(slope), 0.02 * std::abs(slope) + 0.01)
          << direction;
    }
  }

  JobSpec job_;
  std::shared_ptr<const BaseModel> base_;
  ParameterSet state_;
  std::vector<Example> examples_;
};

// Written out once more with the evaluation that all tuners share: losses at w + eps z and w - eps
// z, then w - rate * slope * z.
TEST_F(ZerothOrder, AStepIsThatOfMezo) {
  job_.train.direction = "gauss";
  job_.train.learning_rate = 1e-3;
  const float width = static_cast<float>(job_.train.perturbation);
  const auto z = MakeDirection({DirectionKind::kGauss}, RootOf(job_.job.seed, 3, "a"), 0);
  const std::vector<TensorPart> parts = PartsOf(state_.manifest());
  const auto moved = [&](float scale) {
    ParameterSet at = state_;
    for (size_t i = 0; i < at.size(); ++i) AddDirection(*z, parts[i], scale, at.floats(i));
    return at;
  };
  const double slope = (MeanLoss(moved(width)) - MeanLoss(moved(-width))) / (2 * double{width});
  const ParameterSet want = moved(static_cast<float>(-1e-3 * slope));
  const TuneResult result = TuneWith(job_);
  EXPECT_EQ(result.steps, 1);
  EXPECT_EQ(result.examples, 12);
  EXPECT_NEAR(result.grad_norm, std::abs(slope), 1e-3 * std::abs(slope));
  // Sums of losses of one batch in another order of its examples: slopes agree to 1e-3.
  const ParameterSet got = Plus(result.delta);
  double error = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    for (size_t j = 0; j < got.floats(i).size(); ++j) {
      error = std::max<double>(error, std::abs(got.floats(i)[j] - want.floats(i)[j]));
      size = std::max<double>(size, std::abs(want.floats(i)[j] - state_.floats(i)[j]));
    }
  }
  EXPECT_GT(size, 0);
  EXPECT_LE(error, 1e-3 * size + 0x1p-22);
}

// A client with backpropagation sends the coefficients that one without measures: central
// differences are off by the loss's third derivative times epsilon squared, a quarter at half the
// width. Without [scalars] all clients measure.
TEST_F(ZerothOrder, AProjectedGradientGivesTheCoefficientsThatAreMeasured) {
  job_.train.queries = 8;
  job_.train.learning_rate = 1e-3;
  const auto coefficients = [&](double perturbation, bool project) {
    job_.train.perturbation = perturbation;
    TuneRequest request = RequestOf("a");
    request.project_gradient = project;
    const auto result = (*MakeZerothOrderTuner(base_, job_))->Tune(request);
    EXPECT_TRUE(result.ok()) << result.status();
    return FlatOf(result->delta);
  };
  EXPECT_EQ(coefficients(1e-3, true), coefficients(1e-3, false));
  job_.scalars.enabled = true;
  const std::vector<float> projected = coefficients(1e-3, true);
  ASSERT_EQ(projected.size(), 8u);
  float largest = 0;
  for (const float value : projected) largest = std::max(largest, std::abs(value));
  const auto error_at = [&](double perturbation) {
    const std::vector<float> measured = coefficients(perturbation, false);
    double error = 0;
    for (size_t j = 0; j < 8; ++j) {
      error = std::max<double>(error, std::abs(measured[j] - projected[j]));
    }
    return error;
  };
  const double wide = error_at(5e-4), narrow = error_at(2.5e-4);
  EXPECT_LT(narrow, 0.01 * largest);
  EXPECT_NEAR(wide / narrow, 4, 0.5);
}

TEST_F(ZerothOrder, DirectionsOfASessionAreMeasuredOnlyWithItsRoot) {
  job_.train.learning_rate = 1e-3;
  job_.scalars.enabled = true;
  job_.scalars.drawn_from = "session";
  const auto coefficients = [&](std::optional<uint64_t> root) {
    TuneRequest request = RequestOf("a");
    request.session_root = root;
    return (*MakeZerothOrderTuner(base_, job_))->Tune(request);
  };
  EXPECT_EQ(coefficients(std::nullopt).status().code(), absl::StatusCode::kInvalidArgument);
  const auto one = coefficients(1), again = coefficients(1), other = coefficients(2);
  ASSERT_TRUE(one.ok() && again.ok() && other.ok()) << one.status();
  EXPECT_EQ(FlatOf(one->delta), FlatOf(again->delta));
  EXPECT_NE(FlatOf(one->delta), FlatOf(other->delta));
}

// Sums that make one direction e times as likely as each of the others; 40 draws of 64.
TEST_F(ZerothOrder, DrawsOfAPoolGoByItsSums) {
  job_.train.learning_rate = 1e-4;
  job_.train.max_steps = 10;
  job_.train.queries = 4;
  job_.scalars.enabled = true;
  job_.scalars.pool = 64;
  const auto coefficients = [&](const std::string& choice, std::span<const float> sums) {
    job_.scalars.pool_choice = choice;
    TuneRequest request = RequestOf("a");
    request.pool_sums = sums;
    return (*MakeZerothOrderTuner(base_, job_))->Tune(request);
  };
  const auto drawn = [](const absl::StatusOr<TuneResult>& result) {
    EXPECT_TRUE(result.ok()) << result.status();
    std::set<size_t> indices;
    const std::vector<float> flat = FlatOf(result->delta);
    for (size_t j = 0; j < flat.size(); ++j) {
      if (flat[j] != 0) indices.insert(j);
    }
    return indices;
  };
  std::vector<float> sums(64);
  sums[17] = -2;
  PoolChoice choice = *PoolChoice::Of(sums);
  RandomCursor cursor(RandomStream(RootOf(job_.job.seed, 3, "a"), Purpose::kSeedChoice, 0));
  std::set<size_t> want;
  for (int draw = 0; draw < 40; ++draw) want.insert(choice.Draw(cursor));
  EXPECT_EQ(drawn(coefficients("amplitude", sums)), want);
  EXPECT_NE(drawn(coefficients("uniform", sums)), want);
  EXPECT_NE(drawn(coefficients("amplitude", {})), want);  // before the first round
  EXPECT_EQ(coefficients("amplitude", std::vector<float>(63)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ZerothOrder, MeasuredSlopesAreThoseOfBackpropagation) { ExpectSlopesOfBackpropagation(); }

TEST_F(ZerothOrder, WholeModelsAreMeasuredAndMoved) {
  job_.method = "full";
  const auto plan = PlanAdapter(base_->config(), base_->match(), job_);
  ASSERT_TRUE(plan.ok()) << plan.status();
  state_ = *InitialState(*plan, 1, &base_->files());
  ExpectSlopesOfBackpropagation();
  // 19,424 numbers: a stable rate is far smaller than that of adapters, and the loss falls slowly.
  job_.train.max_steps = 100;
  job_.train.queries = 4;
  job_.train.learning_rate = 3e-5;
  job_.train.direction = "rademacher";
  const double before = MeanLoss(state_);
  EXPECT_LT(MeanLoss(Plus(TuneWith(job_).delta)), before - 0.005);
}

// The whole model, four steps of two queries; `spent`: of a copy of the state that may be spent.
class ZerothOrderWhole : public ZerothOrder {
 protected:
  void SetUp() override {
    ZerothOrder::SetUp();
    job_.method = "full";
    job_.train.max_steps = 4;
    job_.train.queries = 2;
    job_.train.learning_rate = 1e-4;
    const auto plan = PlanAdapter(base_->config(), base_->match(), job_);
    ASSERT_TRUE(plan.ok()) << plan.status();
    state_ = *InitialState(*plan, 1, &base_->files());
  }
  absl::StatusOr<TuneResult> Spending(ParameterSet& state,
                                      std::function<bool()> cancelled = {}) const {
    TuneRequest request = RequestOf("a");
    request.global = request.spent = &state;
    request.cancelled = std::move(cancelled);
    return (*MakeZerothOrderTuner(base_, job_))->Tune(request);
  }
};

TEST_F(ZerothOrderWhole, ASpentStateGivesTheSameUpdate) {
  const std::string received = state_.HashHex();
  for (const char* direction : {"rademacher", "low-rank"}) {
    for (const bool scalars : {true, false}) {
      for (const int steps : {1, 4}) {
        job_.train.direction = direction;
        job_.scalars.enabled = scalars;
        job_.train.max_steps = steps;
        const std::string want = TuneWith(job_).delta.HashHex();
        EXPECT_EQ(state_.HashHex(), received);
        ParameterSet state = state_;
        const auto result = Spending(state);
        ASSERT_TRUE(result.ok()) << result.status();
        EXPECT_EQ(result->delta.HashHex(), want) << direction << ", " << scalars << ", " << steps;
        // It is walked in where only coefficients go up and there is a step after the first.
        EXPECT_EQ(state.HashHex() != received, scalars && steps > 1);
      }
    }
  }
}

// What was left half walked by a round that ended early is of no further use, but the tuner is.
TEST_F(ZerothOrderWhole, ACancelledWalkLeavesNothingBehindInTheTuner) {
  job_.scalars.enabled = true;
  const std::string want = TuneWith(job_).delta.HashHex();
  const auto tuner = MakeZerothOrderTuner(base_, job_);
  ASSERT_TRUE(tuner.ok()) << tuner.status();
  ParameterSet state = state_;
  TuneRequest request = RequestOf("a");
  request.global = request.spent = &state;
  int asked = 0;
  request.cancelled = [&asked] { return ++asked > 3; };
  EXPECT_EQ((*tuner)->Tune(request).status().code(), absl::StatusCode::kAborted);
  EXPECT_NE(state.HashHex(), state_.HashHex());
  state = state_;
  request.cancelled = {};
  const auto again = (*tuner)->Tune(request);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->delta.HashHex(), want);
}

TEST_F(ZerothOrderWhole, AStateIsSpentOnlyWhereItIsTheOneToTrain) {
  ParameterSet other = state_;
  TuneRequest request = RequestOf("a");
  request.spent = &other;
  const auto result = (*MakeZerothOrderTuner(base_, job_))->Tune(request);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
}

// Each estimator on one full batch. The seed is fixed: this holds for ever or not at all.
TEST_F(ZerothOrder, TheLossFallsWithEveryEstimator) {
  const double before = MeanLoss(state_);
  job_.train.max_steps = 150;
  job_.train.queries = 4;
  job_.train.perturbation = 1e-3;
  for (const auto& [estimator, rate] :
       {std::pair{"central", 2e-3}, {"one-sided", 2e-3}, {"fzoo", 2e-5}}) {
    for (const char* direction : {"rademacher", "gauss", "low-rank", "subspace"}) {
      JobSpec job = job_;
      job.train.estimator = estimator;
      job.train.direction = direction;
      job.train.learning_rate = rate;
      const double after = MeanLoss(Plus(TuneWith(job).delta));
      EXPECT_LT(after, before - 0.1) << estimator << ", " << direction;
    }
  }
}

TEST_F(ZerothOrder, ClientsSideBySideGetTheBitsTheyGetAlone) {
  job_.lora.lora_dropout = 0.1;
  job_.train.per_device_train_batch_size = 4;
  job_.train.max_steps = 4;
  const auto tuner = MakeZerothOrderTuner(base_, job_);
  ASSERT_TRUE(tuner.ok());
  const std::vector<std::string> clients = {"a", "b", "c", "d"};
  std::vector<std::string> alone;
  std::vector<TuneRequest> requests;
  for (const std::string& client : clients) {
    alone.push_back(TuneWith(job_, client).delta.HashHex());
    requests.push_back(RequestOf(client));
  }
  EXPECT_EQ(testing::HashesSideBySide(**tuner, requests), alone);
  EXPECT_NE(alone[0], alone[1]);
}

// Without common masks the two losses of a pair would differ by their masks, and a slope over a
// width of 1e-4 by thousands.
TEST_F(ZerothOrder, BothLossesOfAPairHaveTheSameDropout) {
  job_.lora.lora_dropout = 0.5;
  job_.train.perturbation = 1e-3;
  const double wide = TuneWith(job_).grad_norm;
  job_.train.perturbation = 1e-4;
  EXPECT_NEAR(TuneWith(job_).grad_norm, wide, 0.05 * wide + 0.1);
}

TEST_F(ZerothOrder, ClippingBoundsTheStep) {
  job_.train.learning_rate = 1;
  job_.train.max_grad_norm = 1e-3;
  const TuneResult result = TuneWith(job_);
  ASSERT_GT(result.grad_norm, 1e-3);
  for (size_t i = 0; i < result.delta.size(); ++i) {
    for (float value : result.delta.floats(i)) ASSERT_NEAR(std::abs(value), 1e-3, 1e-6);
  }
}

TEST_F(ZerothOrder, ExamplePrivacyIsRefused) {
  TuneRequest request = RequestOf("a");
  request.privacy = ExamplePrivacy{};
  const auto result = (*MakeZerothOrderTuner(base_, job_))->Tune(request);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(result.status().message()).find("train.estimator: got \"central\""),
            std::string::npos);
}

}  // namespace
}  // namespace rivulet
