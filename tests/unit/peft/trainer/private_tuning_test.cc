// The tuner under example privacy, as its callers see it.
#include <limits>

#include "tests/unit/peft/trainer/private_work.h"
#include "tests/unit/peft/trainer/told_noise.h"

namespace rivulet {
namespace {

using testing::Clip;
using testing::NormOf;
using testing::PrivateWork;

class PrivateTuning : public ::testing::Test {
 protected:
  TuneResult TuneWith(const ExamplePrivacy& privacy) {
    auto result = work_.Tune(work_.RequestOf(privacy, noise_));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? std::move(*result) : TuneResult{};
  }
  std::string HashWith(const ExamplePrivacy& privacy) {
    noise_ = testing::ToldNoise();
    return TuneWith(privacy).delta.HashHex();
  }
  absl::Status Refused(const ExamplePrivacy& privacy) {
    return work_.Tune(work_.RequestOf(privacy, noise_)).status();
  }

  PrivateWork work_{{"lora", testing::SmallLlama, true, [](JobSpec&) {}}, 12, 4};
  testing::ToldNoise noise_;
};

// 12 examples at a rate of 2^-40: all three steps are empty, and each gets its noise.
TEST_F(PrivateTuning, AnEmptyBatchIsAStepWithNoise) {
  work_.job.train.learning_rate = 0.25;
  ExamplePrivacy privacy;
  privacy.sample_rate = 0x1p-40;
  privacy.batch_size = 2;
  privacy.steps = 3;
  noise_.shift = 1 << 16;
  const TuneResult result = TuneWith(privacy);
  const GradientGrid grid = GridOf(privacy);
  EXPECT_EQ(result.steps, 3);
  EXPECT_EQ(noise_.variances, std::vector<uint64_t>(3, grid.variance));
  const double each = -0.25 * 3 * (1 << 16) * grid.step / 2;
  for (size_t i = 0; i < result.delta.size(); ++i) {
    for (float value : result.delta.floats(i)) ASSERT_NEAR(value, each, 1e-5 * std::abs(each));
  }
}

TEST_F(PrivateTuning, NoiseComesOnceAStepHoweverManyMicroBatches) {
  ExamplePrivacy privacy;
  privacy.steps = 2;
  work_.job.train.per_device_train_batch_size = 1;
  TuneWith(privacy);
  EXPECT_EQ(noise_.variances.size(), 2u);
}

TEST_F(PrivateTuning, MicroBatchesAndThreadsChangeNoBit) {
  ExamplePrivacy privacy;
  privacy.clip_norm = 0.1;
  privacy.sample_rate = 0.5;
  privacy.steps = 3;
  work_.job.train.optimizer = "adamw";
  const std::string expected = HashWith(privacy);
  for (int size : {1, 3, 12}) {
    work_.job.train.per_device_train_batch_size = size;
    EXPECT_EQ(HashWith(privacy), expected) << size;
  }
  work_.job.train.threads = 2;
  EXPECT_EQ(HashWith(privacy), expected);
}

// The masks come from the caller's secret words, and one example's mask is not another's.
TEST_F(PrivateTuning, DropoutComesFromTheNoiseAndDiffersBetweenExamples) {
  ExamplePrivacy privacy = Clip(8);
  const std::string without = HashWith(privacy);
  work_.job.lora.lora_dropout = 0.5;
  const std::string with = HashWith(privacy);
  EXPECT_NE(with, without);
  EXPECT_EQ(HashWith(privacy), with);
  noise_ = testing::ToldNoise(2);
  EXPECT_NE(TuneWith(privacy).delta.HashHex(), with);
  // Two equal examples in one micro-batch have different gradients: their sum is not twice one.
  work_.examples[1] = work_.examples[0];
  work_.method =
      *MakeMethod(*PlanAdapter(work_.base->config(), work_.base->match(), work_.job), work_.job);
  const std::vector<int64_t> one = work_.SumOver(privacy, {0}, 1);
  std::vector<int64_t> two = work_.SumOver(privacy, {0, 1}, 2);
  EXPECT_NE(two, one);
  for (size_t i = 0; i < two.size(); ++i) two[i] -= 2 * one[i];
  EXPECT_GT(NormOf(two), 0.1 * NormOf(one));
  EXPECT_LE(NormOf(one), GridOf(privacy).bound);
}

// What the server learns beside the noised update is known before: counts, and no loss.
TEST_F(PrivateTuning, TheResultTellsOnlyWhatIsExpected) {
  ExamplePrivacy privacy;
  privacy.sample_rate = 0.25;
  privacy.steps = 4;
  for (uint64_t seed : {1, 2, 3}) {
    noise_ = testing::ToldNoise(seed);
    const TuneResult result = TuneWith(privacy);
    EXPECT_EQ(result.examples, 12);  // 4 steps of 12 / 4
    EXPECT_EQ(result.tokens, 12 * testing::kSeqLength);
    EXPECT_EQ(result.loss, 0);
  }
}

// Half of the examples gone halves nothing but their own gradients.
TEST_F(PrivateTuning, TheDivisorIsFixed) {
  ExamplePrivacy privacy = Clip(8);
  privacy.batch_size = 12;
  work_.job.train.learning_rate = 1;
  const ParameterSet all = TuneWith(privacy).delta;
  const std::vector<Example> examples = work_.examples;
  std::vector<ParameterSet> halves;
  for (int first : {0, 6}) {
    work_.examples.assign(examples.begin() + first, examples.begin() + first + 6);
    halves.push_back(TuneWith(privacy).delta);
  }
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t j = 0; j < all.floats(i).size(); ++j) {
      ASSERT_NEAR(halves[0].floats(i)[j] + halves[1].floats(i)[j], all.floats(i)[j], 1e-6);
    }
  }
}

TEST_F(PrivateTuning, PackedRecordsAreRefused) {
  work_.job.data.packing = true;
  const absl::Status status = Refused({});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(std::string(status.message()).starts_with("data.packing: got true")) << status;
}

TEST_F(PrivateTuning, AMatrixTrainedWholeIsRefused) {
  work_.job.lora.modules_to_save = {"lm_head"};
  const auto plan = PlanAdapter(work_.base->config(), work_.base->match(), work_.job);
  ASSERT_TRUE(plan.ok()) << plan.status();
  work_.state = *InitialState(*plan, 1, &work_.base->files());
  const absl::Status status = Refused({});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(std::string(status.message()).starts_with("lm_head.weight")) << status;
}

TEST_F(PrivateTuning, WithoutNoiseOrWithBadSettingsItIsRefused) {
  TuneRequest request = work_.RequestOf({}, noise_);
  request.noise = nullptr;
  EXPECT_EQ(work_.Tune(request).status().code(), absl::StatusCode::kInvalidArgument);
  ExamplePrivacy privacy;
  privacy.clip_norm = 0;
  EXPECT_EQ(Refused(privacy).code(), absl::StatusCode::kInvalidArgument);
  noise_.fails = true;
  EXPECT_EQ(Refused({}).code(), absl::StatusCode::kUnavailable);
}

TEST_F(PrivateTuning, ANumberThatIsNotFiniteIsRefused) {
  work_.state.floats(0)[0] = std::numeric_limits<float>::quiet_NaN();
  const absl::Status status = Refused({});
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status.message(), "loss: got nan in step 1, want a finite number");
}

TEST_F(PrivateTuning, ACancelledClientStops) {
  TuneRequest request = work_.RequestOf({}, noise_);
  int polled = 0;
  request.cancelled = [&] { return ++polled == 2; };
  EXPECT_EQ(work_.Tune(request).status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(noise_.variances.empty());
}

}  // namespace
}  // namespace rivulet
