// Drawing tokens, against probabilities worked out by hand, and generation with and without cache.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "peft/model/generate.h"
#include "tests/unit/peft/golden.h"

namespace rivulet {
namespace {

// Logits whose softmax is 0.5, 0.25, 0.125, 0.125 in the order of ids 2, 0, 1, 3.
const std::vector<float> kLogits = {std::log(0.25f), std::log(0.125f), std::log(0.5f),
                                    std::log(0.125f)};

struct SampleCase {
  const char* name;
  GenerateOptions options;
  std::vector<double> probabilities;  // of ids 0..3
};
void PrintTo(const SampleCase& which, std::ostream* out) { *out << which.name; }

GenerateOptions Options(double temperature, int top_k, double top_p) {
  GenerateOptions options;
  options.temperature = temperature;
  options.top_k = top_k;
  options.top_p = top_p;
  return options;
}

class SampleTable : public ::testing::TestWithParam<SampleCase> {};

// `unit` runs over the middles of 1,000 equal cells, so each share is exact to one cell a border.
TEST_P(SampleTable, SharesEqualTheProbabilities) {
  constexpr int kCells = 1000;
  std::vector<int> count(kLogits.size());
  for (int cell = 0; cell < kCells; ++cell)
    ++count[Sample(kLogits, GetParam().options, (cell + 0.5) / kCells)];
  for (size_t id = 0; id < kLogits.size(); ++id)
    EXPECT_NEAR(count[id], GetParam().probabilities[id] * kCells, 1.01) << "id " << id;
}

// Temperature 1/2 squares the probabilities: 16, 4, 1, 1 of 22. Temperature 2 takes their roots:
// 0.707107, 0.5, 0.353553, 0.353553 of 1.914214.
INSTANTIATE_TEST_SUITE_P(
    All, SampleTable,
    ::testing::Values(
        SampleCase{"Greedy", Options(0, 0, 1), {0, 0, 1, 0}},
        SampleCase{"GreedyWhateverTopKAndTopP", Options(0, 3, 0.9), {0, 0, 1, 0}},
        SampleCase{"TemperatureOne", Options(1, 0, 1), {0.25, 0.125, 0.5, 0.125}},
        SampleCase{"TemperatureHalf", Options(0.5, 0, 1), {4. / 22, 1. / 22, 16. / 22, 1. / 22}},
        SampleCase{"TemperatureTwo",
                   Options(2, 0, 1),
                   {0.5 / 1.914214, 0.353553 / 1.914214, 0.707107 / 1.914214, 0.353553 / 1.914214}},
        SampleCase{"TopOne", Options(1, 1, 1), {0, 0, 1, 0}},
        SampleCase{"TopTwo", Options(1, 2, 1), {1. / 3, 0, 2. / 3, 0}},
        // Of two equal logits the lower id comes first.
        SampleCase{"TopThree", Options(1, 3, 1), {0.25 / 0.875, 0.125 / 0.875, 0.5 / 0.875, 0}},
        SampleCase{"TopKAboveTheVocabulary", Options(1, 9, 1), {0.25, 0.125, 0.5, 0.125}},
        // 0.5 alone reaches 0.4; for 0.6 the second is needed; for 0.8 a third.
        SampleCase{"TopPSmall", Options(1, 0, 0.4), {0, 0, 1, 0}},
        SampleCase{"TopPTiny", Options(1, 0, 1e-9), {0, 0, 1, 0}},
        SampleCase{"TopPTwo", Options(1, 0, 0.6), {1. / 3, 0, 2. / 3, 0}},
        SampleCase{"TopPThree", Options(1, 0, 0.8), {0.25 / 0.875, 0.125 / 0.875, 0.5 / 0.875, 0}},
        // Of the two that top-k leaves the first has 2/3: enough for 0.6, not for 0.7.
        SampleCase{"TopPAfterTopK", Options(1, 2, 0.6), {0, 0, 1, 0}},
        SampleCase{"TopPAfterTopKBoth", Options(1, 2, 0.7), {1. / 3, 0, 2. / 3, 0}},
        // At temperature 1/2 the first has 16/22 = 0.727.
        SampleCase{"TopPAfterTemperature", Options(0.5, 0, 0.7), {0, 0, 1, 0}}),
    [](const auto& info) { return info.param.name; });

TEST(Sample, EqualLogitsKeepTheOrderOfIds) {
  const std::vector<float> logits(4, 1.0f);
  EXPECT_EQ(Sample(logits, Options(0, 0, 1), 0.9), 0);
  EXPECT_EQ(Sample(logits, Options(1, 2, 1), 0.99), 1);
  EXPECT_EQ(Sample(logits, Options(1, 0, 1), 0.99), 3);
}

TEST(Sample, LogitsFarApartNeitherOverflowNorGiveNaN) {
  const std::vector<float> logits = {-1e30f, 3e30f, 0};
  EXPECT_EQ(Sample(logits, Options(1e-3, 0, 1), 0.999999), 1);
}

class CachedGeneration : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto folder = std::filesystem::path(RIVULET_SOURCE_DIR) / "simulations/models/llama-7m";
    const auto base = BaseModel::Load(folder, {});
    ASSERT_TRUE(base.ok()) << base.status();
    network_ = MakeNetwork(*base);
  }
  std::vector<int32_t> Cached(const std::vector<int32_t>& prompt, const GenerateOptions& options) {
    return GenerateTokens(*network_, {}, prompt, options, pass_);
  }
  // Every step computes the whole text again.
  std::vector<int32_t> Uncached(std::vector<int32_t> ids, int count) {
    const at::NoGradGuard no_grad;
    std::vector<int32_t> text;
    for (int step = 0; step < count; ++step) {
      Example example;
      example.ids = ids;
      const Batch batch = testing::BatchOf({example}, Task::kCausalLm, network_->base().config());
      const at::Tensor logits =
          testing::LogitsOf(*network_, batch, Task::kCausalLm, {}, pass_)[0][-1];
      text.push_back(logits.argmax().item<int32_t>());
      ids.push_back(text.back());
    }
    return text;
  }

  std::unique_ptr<Network> network_;
  kernels::Workspace workspace_;
  Pass pass_{&workspace_, std::nullopt, false};
};

TEST_F(CachedGeneration, EqualsGenerationWithoutCache) {
  GenerateOptions options;
  options.max_new_tokens = 24;
  const std::vector<int32_t> prompt = {0, 300, 301, 302, 303};
  EXPECT_EQ(Cached(prompt, options), Uncached(prompt, 24));
}

TEST_F(CachedGeneration, StopsAtAnyOfSeveralStopTokens) {
  GenerateOptions options;
  options.max_new_tokens = 24;
  const std::vector<int32_t> prompt = {0, 300, 301, 302, 303};
  const std::vector<int32_t> whole = Cached(prompt, options);
  const auto first = std::find(whole.begin(), whole.end(), whole[5]);
  options.stop_ids = {4095, whole[5]};
  EXPECT_EQ(Cached(prompt, options), std::vector<int32_t>(whole.begin(), first));
}

// The last token drawn takes no position, so one more than the positions left comes out.
TEST_F(CachedGeneration, EndsAtTheModelsPositions) {
  const int64_t positions = network_->base().config().max_position_embeddings;
  GenerateOptions options;
  options.max_new_tokens = 10;
  const std::vector<int32_t> prompt(static_cast<size_t>(positions - 2), 300);
  EXPECT_EQ(Cached(prompt, options).size(), 3u);
}

}  // namespace
}  // namespace rivulet
