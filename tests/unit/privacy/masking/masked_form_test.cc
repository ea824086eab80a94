#include "privacy/masking/masked_form.h"

#include <gtest/gtest.h>

#include <cmath>

namespace rivulet {
namespace {

absl::Status FormOf(int clients, int groups) {
  JobSpec spec;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.job.clients_per_round = clients;
  spec.robust.groups = groups;
  return MaskedForm::Of(spec, {{"a", DType::kF32, {300}}}).status();
}

TEST(MaskedFormOf, MoreClientsThanOneSessionHoldsAreRefused) {
  EXPECT_TRUE(FormOf(5000, 0).ok()) << FormOf(5000, 0);
  const absl::Status refused = FormOf(5001, 0);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.message(),
            "job.clients-per-round: got 5001, want at most 5000 clients in one masked sum");
}

TEST(MaskedFormOf, GroupsAreDrawnFromSoMany) {
  EXPECT_TRUE(FormOf(5000, 3).ok()) << FormOf(5000, 3);
  EXPECT_EQ(FormOf(5001, 3).message(),
            "job.clients-per-round: got 5001, want at most 5000 clients in one draw of groups");
}

// Of six at most one may be missing, of the 0.2 that may drop out; how many groups there are is by
// the fewest of a sum, 4.
TEST(MaskedForm, ADrawnGroupIsNotTrimmedBelowWhatMayDropOut) {
  JobSpec spec;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.robust.rule = "median";
  spec.robust.groups = 8;
  const auto form = MaskedForm::Of(spec, {{"a", DType::kF32, {300}}});
  ASSERT_TRUE(form.ok()) << form.status();
  MaskedAttempt attempt{.attempt = 1, .cohort = 48};
  EXPECT_EQ(form->ParamsOf(attempt).n_min, 4u);
  EXPECT_EQ(form->GroupsOf(48), 8u);
  EXPECT_EQ(form->GroupsOf(31), 7u);
  attempt.drawn.fill(1);
  const std::vector<std::pair<uint32_t, uint32_t>> fewest = {
      {4, 4}, {5, 4}, {6, 5}, {7, 6}, {9, 8}, {10, 8}, {100, 80}, {300, 240}, {625, 500}};
  for (const auto& [members, least] : fewest) {
    attempt.cohort = members;
    const secagg::Params params = form->ParamsOf(attempt);
    EXPECT_EQ(params.n_min, least) << members;
    EXPECT_TRUE(secagg::Check(params).ok()) << secagg::Check(params);
    EXPECT_TRUE(params.RuleOf(least).ok()) << params.RuleOf(least).status();
  }
}

MaskedForm FormWith(const char* codec, const char* mechanism = "none") {
  JobSpec spec;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.secure_aggregation.range = 3;
  spec.job.clients_per_round = 8;
  spec.compression.codec = codec;
  spec.privacy.mechanism = mechanism;
  return *MaskedForm::Of(spec, {{"a", DType::kF32, {1 << 10}}});
}

// Eight clients: three bits more than a value has hold the sum of any slot.
TEST(MaskedForm, ValuesShareAnElementExceptWhereEveryClientAddsNoise) {
  const MaskedAttempt attempt{.attempt = 1, .cohort = 8};
  const MaskedForm plain = FormWith("int8");
  EXPECT_EQ(plain.ParamsOf(attempt).d, (plain.values() + 4) / 5);
  EXPECT_EQ(plain.ParamsOf(attempt).p, 4 * 11 + 8);
  EXPECT_EQ(plain.ParamsOf(attempt).b, 5 * 11 + 2);
  const MaskedForm noised = FormWith("int8", "distributed");
  EXPECT_EQ(noised.ParamsOf(attempt).d, noised.values());
}

// Padding would make 256 of them.
TEST(MaskedForm, FewNumbersAreNotRotatedUnlessTheJobSaysSo) {
  const auto form_of = [](int64_t numbers, const char* rotation, const char* mechanism = "none") {
    JobSpec spec;
    spec.strategy.weighting = "uniform";
    spec.secure_aggregation.enabled = true;
    spec.secure_aggregation.rotation = rotation;
    spec.job.clients_per_round = 8;
    spec.compression.codec = "int8";
    spec.privacy.mechanism = mechanism;
    return *MaskedForm::Of(spec, {{"coefficients", DType::kF32, {numbers}}});
  };
  EXPECT_FALSE(form_of(20, "auto").rotated());
  EXPECT_EQ(form_of(20, "auto").values(), 20u);
  EXPECT_FALSE(form_of(255, "auto").rotated());
  EXPECT_TRUE(form_of(256, "auto").rotated());
  EXPECT_EQ(form_of(20, "on").values(), 256u);
  EXPECT_TRUE(form_of(20, "auto", "central").rotated());  // its bound counts on even coordinates
}

TEST(MaskedForm, FewBitsReachAsFarAsTheirLatticeShould) {
  const MaskedForm two = FormWith("int2"), eight = FormWith("int8");
  ASSERT_TRUE(two.rotated() && eight.rotated());
  EXPECT_DOUBLE_EQ(two.lattice().v, 1.7 * 3 / std::sqrt(static_cast<double>(two.values())));
  EXPECT_DOUBLE_EQ(eight.lattice().v, 8 * 3 / std::sqrt(static_cast<double>(eight.values())));
}

JobSpec TwoPassSpec(int rank) {
  JobSpec spec;
  spec.strategy.weighting = "uniform";
  spec.secure_aggregation.enabled = true;
  spec.job.num_rounds = 2;
  spec.compression.codec = "power-sgd";
  spec.compression.rank = rank;
  return spec;
}

TEST(MaskedForm, ThePassesOfPowerSgdHaveVectorsOfTheirOwn) {
  const Manifest manifest = {{"a", DType::kF32, {300, 200}}, {"b", DType::kF32, {77}}};
  const MaskedForm first = *MaskedForm::Of(TwoPassSpec(4), manifest);
  const MaskedForm second = first.OfSecondPass(std::string(64, '1'));
  EXPECT_TRUE(first.feedback());
  EXPECT_FALSE(first.second_pass());
  EXPECT_TRUE(second.second_pass());
  EXPECT_EQ(first.MapsOf(1, {}, {}, {})->reduced, 4u * 300);
  EXPECT_EQ(second.MapsOf(2, {}, {}, std::vector<float>(4 * 300))->reduced, 4u * 200 + 77);
  EXPECT_FALSE(second.MapsOf(2, {}, {}, {}).ok());
  const MaskedAttempt attempt{.attempt = 1, .cohort = 8};
  EXPECT_EQ(first.OfSecondPass("").ParamsOf(attempt), first.ParamsOf(attempt));
  EXPECT_NE(second.ParamsOf(attempt).config_sha256, first.ParamsOf(attempt).config_sha256);
  EXPECT_NE(second.ParamsOf(attempt).config_sha256,
            first.OfSecondPass(std::string(64, '2')).ParamsOf(attempt).config_sha256);
}

TEST(MaskedFormOf, ARankThatMakesNoTensorSmallerIsRefused) {
  const absl::Status refused =
      MaskedForm::Of(TwoPassSpec(2), {{"a", DType::kF32, {2, 200}}}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.message().find("compression.rank: got 2"), absl::string_view::npos) << refused;
}

}  // namespace
}  // namespace rivulet
