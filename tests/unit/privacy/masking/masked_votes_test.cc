// Votes under masks: what is opened is their sum, to the last vote.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "privacy/masking/masked_vector.h"

namespace rivulet {
namespace {

constexpr int64_t kDirections = 301;  // more than rotation = "auto" leaves alone

MaskedForm VotesOf(const std::string& codec) {
  JobSpec spec;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.secure_aggregation.range = 0.5;  // is for updates that have one
  spec.compression.codec = codec;
  spec.scalars.enabled = true;
  spec.scalars.combine = "vote";
  return *MaskedForm::Of(spec, {{"coefficients", DType::kF32, {kDirections}}});
}

class MaskedVotes : public testing::TestWithParam<uint32_t> {
 protected:
  MaskedVotes() : form_(VotesOf("sign")) {
    params_ = form_.ParamsOf({.round = 1, .attempt = 1, .cohort = GetParam()});
  }
  absl::StatusOr<EncodedUpdate> Encode(const ParameterSet& votes) {
    EntropyRounding rounding(SystemEntropy());
    return EncodeUpdate(form_, *form_.MapsOf(1, {}, {}, {}), params_, votes, 1, {}, SystemEntropy(),
                        rounding, nullptr);
  }

  MaskedForm form_;
  secagg::Params params_;
};

TEST_P(MaskedVotes, AddUpToTheSumOfTheVotes) {
  const uint32_t voters = GetParam();
  ASSERT_TRUE(secagg::Check(params_).ok()) << secagg::Check(params_);
  const auto bits = static_cast<size_t>(std::ceil(std::log2(2.0 * voters + 1)));
  EXPECT_EQ(params_.p, 2 + bits * (form_.SlotsOf(voters).slots() - 1));
  std::mt19937 random(3);
  std::vector<int64_t> want(kDirections);
  secagg::RingVector sum(params_.b, params_.length());
  for (uint32_t voter = 0; voter < voters; ++voter) {
    ParameterSet votes(form_.manifest());
    for (size_t j = 0; j < want.size(); ++j) {  // the first directions: all for, all against
      const int64_t vote =
          j < 2 ? 1 - 2 * static_cast<int64_t>(j) : static_cast<int64_t>(random() % 3) - 1;
      votes.floats(0)[j] = static_cast<float>(vote);
      want[j] += vote;
    }
    const auto encoded = Encode(votes);
    ASSERT_TRUE(encoded.ok()) << encoded.status();
    EXPECT_EQ(encoded->clamped, 0u);
    sum.Add(encoded->vector);
  }
  std::vector<int64_t> opened(kDirections);
  form_.SlotsOf(params_.n_max).Read(sum, opened);
  EXPECT_EQ(opened, want);
  const auto decoded = DecodeSum(form_, *form_.MapsOf(1, {}, {}, {}), params_, sum, voters);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  for (size_t j = 0; j < want.size(); ++j) {
    EXPECT_EQ(decoded->mean.floats(0)[j],
              static_cast<float>(static_cast<double>(want[j]) / voters));
  }
}

TEST_P(MaskedVotes, AreWholeOnes) {
  ParameterSet votes(form_.manifest());
  votes.floats(0)[7] = 0.5;
  const auto refused = Encode(votes);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.status().message(), "update: vote 7: got 0.500000, want -1, 0 or 1");
}

INSTANTIATE_TEST_SUITE_P(Cohorts, MaskedVotes, testing::Values(4u, 5u, 8u, 31u, 128u));

TEST(MaskedVotesForm, IsTheSameForBothCodecsThatHaveIt) {
  const MaskedAttempt attempt{.attempt = 1, .cohort = 8};
  EXPECT_EQ(VotesOf("sign").ParamsOf(attempt).d, VotesOf("none").ParamsOf(attempt).d);
  EXPECT_FALSE(VotesOf("none").rotated());
  EXPECT_EQ(VotesOf("none").values(), size_t{kDirections});
}

}  // namespace
}  // namespace rivulet
