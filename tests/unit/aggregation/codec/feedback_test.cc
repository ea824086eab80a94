#include "tests/unit/aggregation/codec/codec_fixtures.h"

namespace rivulet {
namespace {

// Multiples of 2^-20 below 2^-6: what rounds of them add up to is exact in binary32.
ParameterSet GridUpdate(const Manifest& manifest, uint64_t seed) {
  ParameterSet update = NormalUpdate(manifest, seed);
  for (size_t tensor = 0; tensor < update.size(); ++tensor) {
    for (float& value : update.floats(tensor)) {
      value = std::clamp(std::nearbyint(value * 0x1p18f) * 0x1p-20f, -0x1p-6f, 0x1p-6f);
    }
  }
  return update;
}

// As integers of 2^-40, which hold everything that occurs.
std::vector<int64_t> IntegersOf(const ParameterSet& set) {
  std::vector<int64_t> integers;
  for (const float value : FlatCopy(set)) {
    const double scaled = std::ldexp(double{value}, 40);
    EXPECT_EQ(scaled, std::nearbyint(scaled));
    integers.push_back(static_cast<int64_t>(scaled));
  }
  return integers;
}

class ErrorFeedback : public testing::TestWithParam<CodecSettings> {};

TEST_P(ErrorFeedback, WhatWasDecodedAndTheResidualAreWhatWasSent) {
  const Manifest manifest = AwkwardManifest();
  const auto codec = CodecFor(GetParam());
  ASSERT_TRUE(codec->traits().feedback);
  ParameterSet residual(manifest), previous(manifest);
  const std::vector<uint32_t> blocks = {0, 3};
  std::vector<int64_t> sent(FlatNumbers(manifest)), received(sent.size());
  for (uint64_t round = 0; round < 8; ++round) {
    CodecContext context{.root = 1, .round = round, .previous = &previous, .blocks = blocks};
    const ParameterSet update = GridUpdate(manifest, 100 + round);
    CodecContext at_client = context;
    at_client.residual = &residual;
    const auto payload = codec->Encode(update, at_client);
    ASSERT_TRUE(payload.ok()) << payload.status();
    const ParameterSet decoded = Decoded(*codec, *payload, manifest, context);
    const std::vector<int64_t> x = IntegersOf(update), y = IntegersOf(decoded);
    for (size_t at = 0; at < sent.size(); ++at) sent[at] += x[at], received[at] += y[at];
    previous = decoded;
  }
  const std::vector<int64_t> left = IntegersOf(residual);
  for (size_t at = 0; at < sent.size(); ++at) ASSERT_EQ(received[at] + left[at], sent[at]) << at;
}

INSTANTIATE_TEST_SUITE_P(
    Exact, ErrorFeedback,
    testing::Values(CodecSettings{.name = "sign", .block = 64}, CodecSettings{.name = "sign"},
                    CodecSettings{.name = "top-k", .fraction = 0.05},
                    CodecSettings{.name = "top-k", .fraction = 0.05, .values = "fp16"},
                    CodecSettings{.name = "random-k", .fraction = 0.05},
                    CodecSettings{.name = "public-top-k", .fraction = 0.05, .values = "bf16"},
                    CodecSettings{.name = "public-top-k", .fraction = 0.05, .zstd = true},
                    CodecSettings{.name = "fed-obd"}));

// Its products are not short: the sum is that of binary32 roundings, 2^-24 of the largest each.
TEST(LowRankFeedback, WhatWasDecodedAndTheResidualAreWhatWasSentUpToRounding) {
  const Manifest manifest = AwkwardManifest();
  const auto codec = CodecFor({.name = "low-rank", .rank = 2});
  ParameterSet residual(manifest);
  std::vector<double> balance(FlatNumbers(manifest));
  for (uint64_t round = 0; round < 8; ++round) {
    const ParameterSet update = NormalUpdate(manifest, 100 + round);
    CodecContext context{.root = 1, .round = round};
    context.residual = &residual;
    const auto payload = codec->Encode(update, context);
    ASSERT_TRUE(payload.ok()) << payload.status();
    const std::vector<float> x = FlatCopy(update),
                             y = FlatCopy(Decoded(*codec, *payload, manifest, context));
    for (size_t at = 0; at < x.size(); ++at) balance[at] += double{x[at]} - double{y[at]};
  }
  const std::vector<float> left = FlatCopy(residual);
  for (size_t at = 0; at < left.size(); ++at) ASSERT_NEAR(balance[at], left[at], 1e-7) << at;
}

TEST(ErrorFeedbackRules, TheResidualIsClippedBeforeItReturns) {
  const auto codec = CodecFor({.name = "top-k", .fraction = 0.5, .values = "f32"});
  ParameterSet residual = UpdateOf({3, 4, 0, 0});  // norm 5, scaled to 1
  CodecContext context;
  context.residual = &residual;
  context.residual_clip = 1;
  const auto payload = codec->Encode(UpdateOf({0, 0, 9, 8}), context);
  ASSERT_TRUE(payload.ok());
  EXPECT_EQ(FlatCopy(Decoded(*codec, *payload, VectorOf(4), {})), (std::vector<float>{0, 0, 9, 8}));
  EXPECT_EQ(FlatCopy(residual), (std::vector<float>{0.6f, 0.8f, 0, 0}));
}

TEST(ErrorFeedbackRules, SwitchedOffOrOfNoUseTheResidualStaysAsItIs) {
  SeededRounding rounding(1);
  for (const CodecSettings& settings :
       {CodecSettings{.name = "top-k", .fraction = 0.5, .error_feedback = false},
        CodecSettings{.name = "int8"}}) {
    ParameterSet residual = UpdateOf({3, 4, 0, 0});
    CodecContext context{.rounding = &rounding};
    context.residual = &residual;
    ASSERT_TRUE(CodecFor(settings)->Encode(UpdateOf({1, 2, 3, 4}), context).ok());
    EXPECT_EQ(FlatCopy(residual), (std::vector<float>{3, 4, 0, 0}));
  }
}

TEST(ErrorFeedbackRules, ANumberThatIsNoneLeavesTheResidualAlone) {
  const auto codec = CodecFor({.name = "sign"});
  ParameterSet residual = UpdateOf({3, 4, 0, 0});
  CodecContext context;
  context.residual = &residual;
  EXPECT_FALSE(codec->Encode(UpdateOf({1, 2, std::nanf(""), 4}), context).ok());
  EXPECT_EQ(FlatCopy(residual), (std::vector<float>{3, 4, 0, 0}));
  residual.floats(0)[1] = std::nanf("");
  EXPECT_FALSE(codec->Encode(UpdateOf({1, 2, 3, 4}), context).ok());
}

TEST(SignCodec, SendsTheMeanMagnitudeAndCountsZeroAsPlus) {
  const auto codec = CodecFor({.name = "sign"});
  const ParameterSet update = UpdateOf({1, -3, 0, 4});  // mean magnitude 2
  const auto payload = codec->Encode(update, {});
  ASSERT_TRUE(payload.ok());
  EXPECT_EQ(FlatCopy(Decoded(*codec, *payload, update.manifest(), {})),
            (std::vector<float>{2, -2, 2, 2}));
  EXPECT_EQ(payload->size(), 32u + 2 + 1);
}

}  // namespace
}  // namespace rivulet
