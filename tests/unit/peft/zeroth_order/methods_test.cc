// What a client of each method sends, written out once more in a few lines on a small drawn llama:
// losses by the evaluation that all tuners share, directions one by one, plain loops. The full
// batch in another order of its sums: slopes agree to 2e-3 of the largest.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "common/direction/directions.h"
#include "common/formats/adapter_manifest.h"
#include "common/random.h"
#include "common/scalars/pool_choice.h"
#include "peft/model/base_model.h"
#include "peft/trainer/first_order_tuner.h"
#include "peft/trainer/schedule.h"
#include "peft/zeroth_order/zeroth_order_tuner.h"
#include "tests/unit/peft/random_model.h"

namespace rivulet {
namespace {

using Flat = std::vector<float>;

constexpr double kRate = 5e-3;
constexpr float kWidth = 1e-2f;
constexpr int kSteps = 3;

class ClientOf : public ::testing::Test {
 protected:
  void SetUp() override {
    job_.lora.lora_target_modules = {"q_proj", "v_proj"};
    job_.lora.lora_r = 2;
    job_.lora.lora_dropout = 0;
    job_.train.estimator = "central";
    job_.train.optimizer = "sgd";
    job_.train.max_grad_norm = 0;
    job_.train.per_device_train_batch_size = 12;  // all of them
    job_.train.max_steps = kSteps;
    job_.train.queries = 2;
    job_.train.learning_rate = kRate;
    job_.train.perturbation = kWidth;
    job_.scalars.enabled = true;
    const auto base = LoadBaseModel(testing::RandomModel(testing::SmallLlama()), job_);
    ASSERT_TRUE(base.ok()) << base.status();
    base_ = *base;
    state_ = testing::Moved(*InitialState(*PlanAdapter(base_->config(), base_->match(), job_), 1));
    examples_ = testing::RandomExamples(12, 8, 14);
  }

  Flat Sent() const {
    TuneRequest request;
    request.global = &state_;
    request.examples = examples_;
    request.round = 3;
    request.client = "a";
    request.pool_sums = pool_sums_;
    const bool backprop = job_.train.estimator == "backprop";
    const auto tuner =
        backprop ? MakeFirstOrderTuner(base_, job_) : MakeZerothOrderTuner(base_, job_);
    EXPECT_TRUE(tuner.ok()) << tuner.status();
    const auto result = (*tuner)->Tune(request);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? FlatOf(result->delta) : Flat();
  }
  ParameterSet StateOf(const Flat& w) const {
    ParameterSet set = state_;
    auto value = w.begin();
    for (size_t i = 0; i < set.size(); ++i) {
      for (float& to : set.floats(i)) to = *value++;
    }
    return set;
  }
  // A job of the same model that backpropagates.
  JobSpec Plain() const {
    JobSpec plain = job_;
    plain.train.estimator = "backprop";
    plain.scalars = {};
    return plain;
  }
  double LossAt(const Flat& w) const { return LossAt(w, examples_); }
  double LossAt(const Flat& w, std::span<const Example> examples) const {
    const auto sums = (*MakeFirstOrderTuner(base_, Plain()))->Evaluate(StateOf(w), examples);
    EXPECT_TRUE(sums.ok()) << sums.status();
    return sums->loss / static_cast<double>(sums->counted);
  }
  // Direction `index` of the round that all clients share; of tensors with `moves` alone.
  Flat Direction(uint64_t index, uint64_t round = 3, DirectionSettings settings = {},
                 const std::function<bool(size_t)>& moves = {}) const {
    const auto z = MakeDirection(settings, RootOf(job_.job.seed, round, ""), index);
    const std::vector<TensorPart> parts = PartsOf(state_.manifest());
    Flat all;
    for (size_t i = 0; i < parts.size(); ++i) {
      Flat values(state_.floats(i).size());
      if (!moves || moves(i)) AddDirection(*z, parts[i], 1, values);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }
  static Flat Plus(const Flat& w, double scale, const Flat& z) {
    Flat sum = w;
    for (size_t i = 0; i < w.size(); ++i) sum[i] = std::fma(static_cast<float>(scale), z[i], w[i]);
    return sum;
  }
  double Central(const Flat& w, const Flat& z) const {
    return (LossAt(Plus(w, kWidth, z)) - LossAt(Plus(w, -kWidth, z))) / (2 * double{kWidth});
  }
  // <gradient, z> by one whole step of plain descent, which is minus the gradient.
  double Exact(const Flat& w, const Flat& z) const {
    JobSpec plain = Plain();
    plain.train.max_steps = 1;
    plain.train.learning_rate = 1;
    const ParameterSet at = StateOf(w);
    TuneRequest request;
    request.global = &at;
    request.examples = examples_;
    request.round = 3;
    request.client = "a";
    const auto result = (*MakeFirstOrderTuner(base_, plain))->Tune(request);
    EXPECT_TRUE(result.ok()) << result.status();
    const Flat step = FlatOf(result->delta);
    return -std::inner_product(z.begin(), z.end(), step.begin(), 0.0);
  }
  using SlopeAt = std::function<double(const Flat& w, const Flat& z)>;
  // Every step: slopes along its directions where the step begins, then the walk down them.
  std::vector<double> Walk(const std::function<Flat(int)>& direction, SlopeAt slope_at = {}) const {
    if (!slope_at) slope_at = [this](const Flat& w, const Flat& z) { return Central(w, z); };
    std::vector<double> coefficients;
    Flat w = FlatOf(state_);
    const int queries = job_.train.queries;
    for (int step = 0; step < kSteps; ++step) {
      const Flat start = w;
      for (int query = step * queries; query < (step + 1) * queries; ++query) {
        const Flat z = direction(query);
        coefficients.push_back(slope_at(start, z) / queries);
        w = Plus(w, -kRate * coefficients.back(), z);
      }
    }
    return coefficients;
  }
  static void ExpectNear(const Flat& sent, const std::vector<double>& want) {
    ASSERT_EQ(sent.size(), want.size());
    double largest = 0;
    for (double value : want) largest = std::max(largest, std::abs(value));
    ASSERT_GT(largest, 0);
    for (size_t j = 0; j < want.size(); ++j) {
      EXPECT_NEAR(sent[j], want[j], 2e-3 * largest) << "coefficient " << j;
    }
  }

  JobSpec job_;
  std::shared_ptr<const BaseModel> base_;
  ParameterSet state_;
  std::vector<Example> examples_;
  std::vector<float> pool_sums_;
};

TEST_F(ClientOf, DeComFl) {
  ExpectNear(Sent(), Walk([&](int query) { return Direction(query); }));
}

TEST_F(ClientOf, FedKSeed) {
  job_.scalars.pool = 32;
  RandomCursor draws(RandomStream(RootOf(job_.job.seed, 3, "a"), Purpose::kSeedChoice, 0));
  std::vector<uint64_t> drawn;
  for (int query = 0; query < kSteps * 2; ++query) drawn.push_back(draws.Bounded(32));
  const auto walked = Walk([&](int query) { return Direction(drawn[query], 0); });
  std::vector<double> sums(32);
  for (size_t query = 0; query < drawn.size(); ++query) sums[drawn[query]] += walked[query];
  ExpectNear(Sent(), sums);
}

// The log's sums make some directions up to e times as likely as others.
TEST_F(ClientOf, FedKSeedPro) {
  job_.scalars.pool = 32;
  job_.scalars.pool_choice = "amplitude";
  for (int j = 0; j < 32; ++j) pool_sums_.push_back(static_cast<float>(j % 5 - 2));
  const PoolChoice choice = *PoolChoice::Of(pool_sums_);
  RandomCursor draws(RandomStream(RootOf(job_.job.seed, 3, "a"), Purpose::kSeedChoice, 0));
  std::vector<uint64_t> drawn;
  for (int query = 0; query < kSteps * 2; ++query) drawn.push_back(choice.Draw(draws));
  const auto walked = Walk([&](int query) { return Direction(drawn[query], 0); });
  std::vector<double> sums(32);
  for (size_t query = 0; query < drawn.size(); ++query) sums[drawn[query]] += walked[query];
  ExpectNear(Sent(), sums);
}

// A vote is a whole one, however steep the slope: clipping has no part in it.
TEST_F(ClientOf, FeedSign) {
  job_.scalars.combine = "vote";
  job_.train.max_grad_norm = 1e-3;
  job_.train.queries = 1;
  ExpectNear(Sent(),
             Walk([&](int query) { return Direction(query); },
                  [&](const Flat& w, const Flat& z) { return Central(w, z) > 0 ? 1 : -1; }));
  const Flat measured = Sent();
  job_.train.estimator = "forward";
  EXPECT_EQ(Sent(), measured);
}

// A third of the tensors, the client's own, moves; by differences, and by exact slopes.
TEST_F(ClientOf, Spry) {
  job_.scalars.splits = 3;
  const size_t count = kSteps * 2;
  const SlopeAt exact = [&](const Flat& w, const Flat& z) { return Exact(w, z); };
  for (const char* estimator : {"central", "forward"}) {
    job_.train.estimator = estimator;
    const Flat sent = Sent();
    ASSERT_EQ(sent.size(), 3 * count);
    const auto first = std::find_if(sent.begin(), sent.end(), [](float c) { return c != 0; });
    ASSERT_NE(first, sent.end());
    const size_t split = static_cast<size_t>(first - sent.begin()) / count;
    const auto moves = [&](size_t tensor) { return tensor % 3 == split; };
    std::vector<double> want(3 * count);
    const auto own = Walk([&](int query) { return Direction(query, 3, {}, moves); },
                          job_.train.estimator == "forward" ? exact : SlopeAt());
    std::copy(own.begin(), own.end(), want.begin() + static_cast<long>(split * count));
    ExpectNear(sent, want);
    for (size_t j = 0; j < sent.size(); ++j) {
      if (j / count != split) EXPECT_EQ(sent[j], 0);
    }
  }
}

TEST_F(ClientOf, Lozo) {
  job_.train.direction = "low-rank";
  job_.train.direction_rank = 2;
  job_.train.direction_renewal = 4;
  ExpectNear(Sent(), Walk([&](int query) {
               return Direction(query, 3, {DirectionKind::kLowRank, 2, 4});
             }));
}

// U, V and Z by themselves are held against their definition in direction_test.
TEST_F(ClientOf, SubZero) {
  job_.train.direction = "subspace";
  job_.train.direction_rank = 2;
  job_.train.direction_renewal = 4;
  ExpectNear(Sent(), Walk([&](int query) {
               return Direction(query, 3, {DirectionKind::kSubspace, 2, 4});
             }));
}

TEST_F(ClientOf, Baffle) {
  job_.train.estimator = "one-sided";
  job_.train.max_steps = 1;
  job_.train.queries = 8;
  const Flat w = FlatOf(state_);
  std::vector<double> want;
  for (int query = 0; query < 8; ++query) {
    const double slope = (LossAt(Plus(w, kWidth, Direction(query))) - LossAt(w)) / double{kWidth};
    want.push_back(slope / 8);
  }
  ExpectNear(Sent(), want);
}

// The step is divided by the deviation of its losses, and not clipped as well; a coefficient is in
// units of rate / width.
TEST_F(ClientOf, Fzoo) {
  job_.train.estimator = "fzoo";
  job_.train.max_grad_norm = 1e-3;
  job_.train.queries = 4;
  job_.train.learning_rate = 1e-5;
  Flat w = FlatOf(state_);
  std::vector<double> want;
  for (int step = 0; step < kSteps; ++step) {
    const double at = LossAt(w);
    std::vector<double> ahead;
    for (int query = 0; query < 4; ++query) {
      ahead.push_back(LossAt(Plus(w, kWidth, Direction(4 * step + query))));
    }
    const double mean = std::accumulate(ahead.begin(), ahead.end(), 0.0) / 4;
    double squares = 0;
    for (double loss : ahead) squares += (loss - mean) * (loss - mean);
    for (int query = 0; query < 4; ++query) {
      want.push_back((ahead[query] - at) / std::sqrt(squares / 3) / 4);
      w = Plus(w, -1e-5 / double{kWidth} * want.back(), Direction(4 * step + query));
    }
  }
  ExpectNear(Sent(), want);
}

// Every example along a direction of its own; the differences of a step are divided by their
// deviation. Which examples a step has is that of all estimators (StepOrder).
TEST_F(ClientOf, Grzo) {
  job_.train.estimator = "grzo";
  job_.train.direction = "flipped";
  job_.train.queries = job_.train.gradient_accumulation_steps = job_.train.direction_renewal = 4;
  job_.train.per_device_train_batch_size = 1;
  job_.train.learning_rate = 1e-5;
  examples_.resize(10);  // the third step has two
  StepOrder order(job_.train, RootOf(job_.job.seed, 3, "a"), 10);
  Flat w = FlatOf(state_);
  std::vector<double> want;
  for (int step = 0; step < kSteps; ++step) {
    const StepPlan plan = order.Next();
    const int measured = static_cast<int>(plan.size());
    ASSERT_EQ(measured, step < 2 ? 4 : 2);
    std::vector<Flat> directions;
    std::vector<double> differences;
    for (int query = 0; query < measured; ++query) {
      const std::span<const Example> one(&examples_[plan[query].at(0)], 1);
      const Flat z = Direction(4 * step + query, 3, {DirectionKind::kFlipped, 1, 4});
      differences.push_back(LossAt(Plus(w, kWidth, z), one) - LossAt(Plus(w, -kWidth, z), one));
      directions.push_back(z);
    }
    const double mean = std::accumulate(differences.begin(), differences.end(), 0.0) / measured;
    double squares = 0, all = 0;
    for (double difference : differences) {
      squares += (difference - mean) * (difference - mean);
      all += difference * difference;
    }
    const double deviation = std::max(std::sqrt(squares / measured), std::sqrt(all / measured) / 2);
    for (int query = 0; query < measured; ++query) {
      // a_i / (2 sigma B), in units of rate / sigma.
      want.push_back(differences[query] / deviation / (2 * 4));
      w = Plus(w, -1e-5 / double{kWidth} * want.back(), directions[query]);
    }
    want.resize(4 * (step + 1));
  }
  ExpectNear(Sent(), want);
}

// Any optimiser's movement, projected.
TEST_F(ClientOf, Ferret) {
  job_.train.estimator = "backprop";
  job_.train.optimizer = "adamw";
  job_.train.queries = 1;
  job_.scalars.directions = 16;
  const Flat sent = Sent();
  job_.scalars = {};
  const Flat delta = Sent();
  std::vector<double> want;
  for (int j = 0; j < 16; ++j) {
    const Flat z = Direction(j);
    want.push_back(std::inner_product(z.begin(), z.end(), delta.begin(), 0.0));
  }
  ExpectNear(sent, want);
}

}  // namespace
}  // namespace rivulet
