// The bit of adaptive clipping inside a vector.
#include <gtest/gtest.h>

#include <cmath>

#include "privacy/dp/adaptive_clip.h"
#include "privacy/masking/masked_vector.h"

namespace rivulet {
namespace {

constexpr uint32_t kClients = 64;
const Manifest kFour = {{"a", DType::kF32, {4}}};

MaskedForm FormOf(const std::string& mechanism, const std::string& noise = "discrete-gaussian") {
  JobSpec spec;
  spec.job.min_clients = kClients;
  spec.job.clients_per_round = kClients;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.secure_aggregation.mode = "semi-honest";
  spec.secure_aggregation.corrupt_fraction = 0;
  spec.secure_aggregation.rotation = "off";
  spec.privacy.mechanism = mechanism;
  spec.privacy.noise = noise;
  spec.privacy.noise_multiplier = 1;
  spec.privacy.clip_norm = 8;
  spec.privacy.adaptive_clip = true;
  return *MaskedForm::Of(spec, kFour);
}

// What 64 clients' bits add up to where `within` of them have updates of exactly the clip norm 2,
// the others of more.
int64_t BitsOf(const MaskedForm& job, uint32_t within) {
  const MaskedForm form = job.OfRound(2);
  const secagg::Params params =
      form.ParamsOf({"job", 1, 1, std::string(64, 'a'), "document", kClients});
  const auto maps = form.MapsOf(1, {}, {}, {});
  EntropyRounding rounding(SystemEntropy());
  secagg::RingVector sum(params.b, params.length());
  for (uint32_t client = 0; client < kClients; ++client) {
    ParameterSet delta(kFour);
    delta.floats(0)[1] = client < within ? -2.0F : 2.001F;
    const auto encoded =
        EncodeUpdate(form, *maps, params, delta, 1, {}, SystemEntropy(), rounding, nullptr);
    EXPECT_TRUE(encoded.ok()) << encoded.status();
    sum.Add(encoded->vector);
  }
  CentralAddition central{[](std::span<int64_t>) { return absl::OkStatus(); }, kClients};
  const auto decoded = DecodeSum(form, *maps, params, sum, kClients, central);
  EXPECT_TRUE(decoded.ok()) << decoded.status();
  return decoded->clip_bits;
}

TEST(ClipBit, UnderCentralNoiseTheSumIsThatOfTheFormula) {
  EXPECT_EQ(BitsOf(FormOf("central"), 64), 64 * 64);
  EXPECT_EQ(BitsOf(FormOf("central"), 20), 20 * 64 - 44 * 64);
}

// sigma_b = 64/20: a deviation of 128 sigma_b = 410 of the sum; eight: 1 in 10^15.
TEST(ClipBit, TheClientsNoiseHidesIt) {
  for (const char* noise : {"discrete-gaussian", "skellam"}) {
    const MaskedForm form = FormOf("distributed", noise);
    double squares = 0;
    for (int times = 0; times < 40; ++times) {
      const auto far = static_cast<double>(BitsOf(form, 48) - (48 * 64 - 16 * 64));
      EXPECT_LT(std::abs(far), 8 * 128 * 3.2) << noise;
      squares += far * far;
    }
    // Mean of 40 squares: within 0.2..3 of the variance but for less than 1 in 10^7 of chi-square.
    // All of the cohort is counted on here, so that nobody's noise is beyond the formula's.
    EXPECT_GT(squares / 40, 0.2 * std::pow(128 * 3.2, 2)) << noise;
    EXPECT_LT(squares / 40, 3 * std::pow(128 * 3.2, 2)) << noise;
  }
}

TEST(ClipBit, ZIsSplitAsInTheVectorsAndDoesNotDependOnTheClipNormOfTheRound) {
  for (const double clip_norm : {2.0, 0.003}) {
    const MaskedForm form = FormOf("distributed").OfRound(clip_norm);
    const DistributedNoise noise = *form.NoiseOf(form.ParamsOf({.attempt = 1, .cohort = kClients}));
    EXPECT_EQ(noise.total_multiplier, 1);
    EXPECT_DOUBLE_EQ(noise.noise_multiplier,
                     *AdaptiveClip{.expected = kClients}.VectorNoiseMultiplier(1));
    EXPECT_EQ(noise.clip_norm, clip_norm);
  }
}

TEST(ClipBit, ACalibratedRoundKeepsItsTargetWithTheBit) {
  JobSpec spec;
  spec.job.num_rounds = 10;
  spec.job.min_clients = kClients;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.privacy.mechanism = "distributed";
  spec.privacy.target_epsilon = 8;
  spec.privacy.adaptive_clip = true;
  const MaskedForm form = *MaskedForm::Of(spec, kFour);
  const DistributedNoise noise = *form.NoiseOf(form.ParamsOf({.attempt = 1, .cohort = kClients}));
  spec.privacy.adaptive_clip = false;
  const MaskedForm plain = *MaskedForm::Of(spec, kFour);
  const DistributedNoise alone = *plain.NoiseOf(plain.ParamsOf({.attempt = 1, .cohort = kClients}));
  EXPECT_NEAR(noise.total_multiplier / alone.noise_multiplier, 1, 3e-3);
  EXPECT_GT(noise.noise_multiplier, noise.total_multiplier);
}

TEST(ClipBit, ACohortWhoseBitsCostMoreThanTheTargetIsRefused) {
  JobSpec spec;
  spec.job.min_clients = 4;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.privacy.mechanism = "distributed";
  spec.privacy.target_epsilon = 1;  // z above 4; 2 sigma_b is 0.4
  spec.privacy.adaptive_clip = true;
  const MaskedForm form = *MaskedForm::Of(spec, kFour);
  EXPECT_EQ(form.NoiseOf(form.ParamsOf({.attempt = 1, .cohort = 4})).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rivulet
