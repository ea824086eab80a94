#include "aggregation/robust/rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "aggregation/robust/tensor_rms.h"
#include "tests/unit/aggregation/robust/cohort.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

// Settings with which the rule of that name can run.
RobustSettings SettingsFor(std::string_view rule, uint32_t f = 1) {
  RobustSettings settings{.rule = std::string(rule), .f = rule == "mean" ? 0 : f};
  if (rule == "norm-bound") settings.clip = 5;
  if (rule == "centred-clipping") settings.tau = 3;
  return settings;
}

// Every rule keeps this contract; a new row of the table joins by itself.
class RobustRuleContract : public testing::TestWithParam<std::string_view> {
 protected:
  RobustSettings settings(uint32_t f = 1) const { return SettingsFor(GetParam(), f); }
  // As the settings say, with the first update as the root of fltrust.
  absl::StatusOr<RobustResult> Run(const Cohort& cohort, const RobustSettings& settings,
                                   RobustContext context = {}) const {
    const std::vector<float> root(cohort.n() > 0 ? cohort.views()[0][0].size() : 0, 0.5f);
    const UpdateView view = {std::span(root)};
    context.root = &view;
    return cohort.Run(settings, context);
  }
};
INSTANTIATE_TEST_SUITE_P(All, RobustRuleContract, testing::ValuesIn(RobustRuleNames()),
                         [](const auto& instance) {
                           std::string name(instance.param);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(RobustRuleContract, TheSameBitsForAnyNumberOfThreads) {
  const Cohort cohort(GaussRows(11, 300'001, 1));
  auto alone = Run(cohort, settings(2), {.threads = 1});
  ASSERT_TRUE(alone.ok()) << alone.status();
  for (const int threads : {2, 3, 8, 0}) {
    const auto together = Run(cohort, settings(2), {.threads = threads});
    ASSERT_TRUE(together.ok());
    EXPECT_EQ(together->mean.Hash(), alone->mean.Hash());
    for (size_t update = 0; update < cohort.n(); ++update) {
      EXPECT_EQ(together->verdicts[update].score, alone->verdicts[update].score);
    }
  }
}

TEST_P(RobustRuleContract, WhatIsNotFiniteIsNamed) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (const double clip : {0.0, 5.0}) {
      Cohort cohort(GaussRows(9, 3000, 2));
      cohort.rows()[4][2077] = bad;
      RobustSettings clipped = settings();
      if (GetParam() != "norm-bound") clipped.clip = clip;
      const absl::Status status = Run(cohort, clipped).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
      EXPECT_THAT(status.message(), HasSubstr("update 4: x[2077]: got "));
    }
  }
}

TEST_P(RobustRuleContract, TooFewUpdatesAreNamedAndNeverAveraged) {
  const auto rule = *MakeRobustRule(settings(3));
  size_t least = 1;
  while (!rule->Check(least).ok()) ++least;
  const size_t want =
      GetParam() == "bulyan"                                                          ? 15
      : GetParam().ends_with("krum")                                                  ? 9
      : GetParam() == "mean" || GetParam() == "norm-bound" || GetParam() == "fltrust" ? 1
                                                                                      : 7;
  EXPECT_EQ(least, want);
  EXPECT_FALSE(rule->Check(0).ok());
  if (want == 1) return;
  const absl::Status status = Run(Cohort(GaussRows(want - 1, 4, 3)), settings(3)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), std::string(GetParam()) + ": got " + std::to_string(want - 1) +
                                  " updates, want at least " + std::to_string(want) + " for f = 3");
}

TEST_P(RobustRuleContract, ShapesThatDoNotFitAreRefused) {
  Cohort cohort(GaussRows(9, 5, 4));
  cohort.rows()[3].resize(4);
  const auto rule = *MakeRobustRule(settings());
  std::vector<UpdateView> views;
  for (const std::vector<float>& row : cohort.rows()) views.push_back({std::span(row)});
  const absl::Status status = rule->Aggregate(views, {.manifest = &cohort.manifest()}).status();
  EXPECT_EQ(status.message(), "update 3: x: got 4 values, want 5");
  EXPECT_FALSE(rule->Aggregate(views, {}).ok());  // no manifest
  views[3].clear();
  EXPECT_EQ(rule->Aggregate(views, {.manifest = &cohort.manifest()}).status().message(),
            "update 3: got 0 tensors, want 1");
}

TEST_P(RobustRuleContract, EqualUpdatesAreTheResult) {
  const Cohort cohort(Cohort::Rows(11, {0.25f, 0.5f, 1.0f, -2.0f}));
  RobustSettings loose = settings(2);
  if (GetParam() == "fltrust") return;  // gives the norm of the root
  const auto result = Run(cohort, loose);
  ASSERT_TRUE(result.ok()) << result.status();
  const std::vector<double> flat = FlatOf(result->mean);
  const std::vector<double> want = {0.25, 0.5, 1.0, -2.0};
  for (size_t at = 0; at < want.size(); ++at) EXPECT_NEAR(flat[at], want[at], 1e-12);
}

TEST_P(RobustRuleContract, SharesSumToOneAndNobodyIsForgotten) {
  const Cohort cohort(GaussRows(11, 40, 5));
  const auto result = Run(cohort, settings(2));
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->verdicts.size(), 11u);
  double sum = 0;
  for (const UpdateVerdict& verdict : result->verdicts) {
    sum += verdict.weight;
    EXPECT_EQ(verdict.kept, verdict.weight > 0);
  }
  if (GetParam() == "centred-clipping") {
    EXPECT_LE(sum, 1 + 1e-12);  // the rest is the previous aggregate's
  } else {
    EXPECT_NEAR(sum, 1, 1e-12);
  }
}

TEST_P(RobustRuleContract, ResultsOfSinglePrecisionAreTheRoundedOnes) {
  const Cohort cohort(GaussRows(11, 1500, 6));
  const auto wide = Run(cohort, settings(2));
  const std::vector<float> root(1500, 0.5f);
  const UpdateView view = {std::span(root)};
  const auto rule = *MakeRobustRule(settings(2));
  const auto narrow =
      rule->Aggregate(cohort.views(), {.manifest = &cohort.manifest(), .root = &view});
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  const std::vector<double> flat = FlatOf(wide->mean);
  for (size_t at = 0; at < flat.size(); ++at) {
    ASSERT_EQ(narrow->mean.floats(0)[at], static_cast<float>(flat[at]));
  }
}

TEST(RobustRule, UnknownNamesAndSettingsOutOfRangeAreNamed) {
  EXPECT_EQ(MakeRobustRule({.rule = "average"}).status().code(), absl::StatusCode::kNotFound);
  const auto message = [](const RobustSettings& settings) {
    return std::string(MakeRobustRule(settings).status().message());
  };
  EXPECT_EQ(message({.rule = "mean", .f = 1}), "robust.f: got 1, want 0 for mean");
  EXPECT_THAT(message({.rule = "norm-bound"}), HasSubstr("robust.clip: got 0"));
  EXPECT_THAT(message({.rule = "median", .clip = -1}), HasSubstr("robust.clip: got -1"));
  EXPECT_THAT(message({.rule = "median", .clip_b = std::numeric_limits<double>::quiet_NaN()}),
              HasSubstr("robust.clip-b: got nan"));
  EXPECT_THAT(message({.rule = "centred-clipping"}), HasSubstr("robust.tau: got 0"));
  EXPECT_THAT(message({.rule = "centred-clipping", .tau = 1, .iterations = 0}),
              HasSubstr("robust.iterations: got 0"));
  EXPECT_THAT(message({.rule = "geometric-median", .nu = 0}), HasSubstr("robust.nu: got 0"));
  EXPECT_THAT(message({.rule = "median", .product_space = true}),
              HasSubstr("robust.product-space: got true for median"));
  EXPECT_THAT(message({.rule = "krum", .normalise = true, .product_space = true}),
              HasSubstr("beside normalise"));
}

TEST(RobustRule, AHugeFIsAnErrorAndDoesNotWrapAround) {
  for (const std::string_view name : RobustRuleNames()) {
    if (name == "mean" || name == "norm-bound" || name == "fltrust") continue;
    const auto rule = *MakeRobustRule(SettingsFor(name, ~uint32_t{0}));
    EXPECT_EQ(rule->Check(1000).code(), absl::StatusCode::kFailedPrecondition) << name;
  }
}

TEST(RobustRule, MultiKrumRefusesToKeepMoreThanItMay) {
  const auto rule = *MakeRobustRule({.rule = "multi-krum", .f = 2, .m = 6});
  EXPECT_EQ(rule->Check(9).message(),
            "multi-krum: got m = 6 of 9 updates, want at most n - f - 2 = 5");
  EXPECT_TRUE(rule->Check(10).ok());
}

// Four points in the corners of a square: every score is the same.
TEST(RobustRule, TiesGoToTheLowerIndex) {
  const Cohort cohort({{1, 1}, {-1, 1}, {-1, -1}, {1, -1}});
  EXPECT_EQ(cohort.Run({.rule = "krum"})->order, (std::vector<uint32_t>{0}));
  EXPECT_EQ(cohort.Run({.rule = "multi-krum", .m = 2})->order, (std::vector<uint32_t>{0, 1}));
}

// theta = 5 of 7, beta = 3. By hand: of 4, 4, 2, 0, 0 the median is 2 and four values are at
// distance 2 of it, of which two are taken.
TEST(RobustRule, BulyanTakesTheLowerIndexOfTwoAsNear) {
  // The first coordinate makes Krum select 0 .. 4 and leave 5 and 6, which are far away.
  Cohort::Rows rows = {{0, 4}, {0, 4}, {0, 2}, {0, 0}, {0, 0}, {1e6f, 0}, {-1e6f, 0}};
  const auto result = Cohort(rows).Run({.rule = "bulyan", .f = 1});
  ASSERT_TRUE(result.ok()) << result.status();
  std::vector<uint32_t> selected = result->order;
  std::sort(selected.begin(), selected.end());
  ASSERT_EQ(selected, (std::vector<uint32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(FlatOf(result->mean)[1], (4.0 + 4.0 + 2.0) / 3);
}

TEST(RobustRule, MeanAndGeometricMedianKnowWeightsAndTheOthersDoNot) {
  const Cohort cohort({{0}, {1}, {4}});
  const std::vector<int64_t> weights = {1, 2, 1};
  EXPECT_EQ(FlatOf(cohort.Run({.rule = "mean"}, {.weights = weights})->mean)[0], 1.5);
  // One step from 1.5: w = 1/1.5, 2/.5, 1/2.5; z = (4 + 1.6) / (2/3 + 4 + .4).
  const auto median =
      cohort.Run({.rule = "geometric-median", .iterations = 1}, {.weights = weights});
  EXPECT_NEAR(FlatOf(median->mean)[0], 5.6 / (2.0 / 3 + 4.4), 1e-12);
  EXPECT_EQ(FlatOf(cohort.Run({.rule = "trimmed-mean"}, {.weights = weights})->mean)[0], 5.0 / 3);
  const std::vector<int64_t> few = {1, 2}, zero = {1, 0, 1};
  EXPECT_FALSE(cohort.Run({.rule = "mean"}, {.weights = few}).ok());
  EXPECT_EQ(cohort.Run({.rule = "mean"}, {.weights = zero}).status().message(),
            "weight: got 0, want >= 1");
}

TEST(RobustRule, CentredClippingStartsAtThePreviousAggregate) {
  const Cohort cohort({{10, 0}, {10, 0}, {10, 0}});
  ParameterSet previous(cohort.manifest());
  previous.floats(0)[0] = 8;
  const RobustSettings settings{.rule = "centred-clipping", .tau = 1, .iterations = 1};
  EXPECT_EQ(FlatOf(cohort.Run(settings)->mean)[0], 1);  // from 0, by tau
  EXPECT_NEAR(FlatOf(cohort.Run(settings, {.previous = &previous})->mean)[0], 9, 1e-14);
  ParameterSet other(Manifest{{"y", DType::kF32, {2}}});
  EXPECT_FALSE(cohort.Run(settings, {.previous = &other}).ok());
  previous.floats(0)[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(cohort.Run(settings, {.previous = &previous}).ok());
}

TEST(RobustRule, FlTrustSkipsARoundThatNobodyIsTrustedIn) {
  const Cohort cohort({{-1, 0}, {-2, 1}, {0, 0}});
  const std::vector<float> root = {1, 0}, nothing = {0, 0}, third = {1, 2, 3};
  const UpdateView view = {std::span(root)}, zero = {std::span(nothing)},
                   long_one = {std::span(third)};
  EXPECT_EQ(cohort.Run({.rule = "fltrust"}, {.root = &view}).status().code(),
            absl::StatusCode::kAborted);
  EXPECT_EQ(cohort.Run({.rule = "fltrust"}, {.root = &zero}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(cohort.Run({.rule = "fltrust"}, {.root = &long_one}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(cohort.Run({.rule = "fltrust"}).status().code(), absl::StatusCode::kInvalidArgument);
}

Manifest LoraManifest() {
  return {{"m.lora_A.weight", DType::kF32, {2, 3}},
          {"m.lora_B.weight", DType::kF32, {2, 2}},
          {"score", DType::kF32, {1}}};
}

TEST(RobustRule, EachFactorHasABoundOfItsOwn) {
  const std::vector<float> row = {3, 0, 0, 4, 0, 0, 6, 0, 0, 8, 2};  // norms 5, 10, 2
  const Cohort cohort(LoraManifest(), {row});
  const auto flat = [&](const RobustSettings& settings) {
    return FlatOf(cohort.Run(settings)->mean);
  };
  const std::vector<double> each =
      flat({.rule = "norm-bound", .clip = 1, .clip_a = 2.5, .clip_b = 20});
  EXPECT_EQ(each, (std::vector<double>{1.5, 0, 0, 2, 0, 0, 6, 0, 0, 8, 1}));
  // Without a bound of their own the factors belong to the rest: its norm is sqrt(129).
  const std::vector<double> whole = flat({.rule = "norm-bound", .clip = 1});
  EXPECT_NEAR(whole[0], 3 / std::sqrt(129.0), 1e-15);
  EXPECT_NEAR(whole[10], 2 / std::sqrt(129.0), 1e-15);
}

TEST(RobustRule, ClippedUpdatesMeetEveryRuleClipped) {
  const Cohort::Rows honest = GaussRows(8, 6, 7);
  Cohort::Rows boosted = honest;
  for (float& value : boosted[3]) value *= 1024;
  Cohort::Rows bounded = honest;
  double square = 0;
  for (const float value : honest[3]) square += static_cast<double>(value) * value;
  const double factor = 2 / std::sqrt(square);
  for (float& value : bounded[3]) value = static_cast<float>(value * factor);
  for (const std::string_view name : RobustRuleNames()) {
    if (name == "fltrust") continue;  // looks at directions only
    RobustSettings settings = SettingsFor(name);
    settings.clip = 2;
    const std::vector<double> got = FlatOf(Cohort(boosted).Run(settings)->mean);
    const std::vector<double> want = FlatOf(Cohort(bounded).Run(settings)->mean);
    for (size_t at = 0; at < got.size(); ++at) EXPECT_NEAR(got[at], want[at], 1e-6) << name;
  }
}

// A factor A a thousand times as large as B hides what B does from flat distances.
TEST(RobustRule, NormalisedDistancesSeeTheSmallTensor) {
  const Manifest manifest = {{"a", DType::kF32, {4}}, {"b", DType::kF32, {4}}};
  Cohort::Rows rows = GaussRows(7, 8, 8);
  for (std::vector<float>& row : rows) {
    for (size_t at = 0; at < 4; ++at) row[at] *= 1000;
  }
  for (size_t at = 0; at < 4; ++at) rows[0][at] = 0;   // in the middle of what is large
  for (size_t at = 4; at < 8; ++at) rows[0][at] = 50;  // far off in what is small
  const Cohort cohort(manifest, rows);
  EXPECT_EQ(cohort.Run({.rule = "krum", .f = 1})->order[0], 0u);
  const auto rms = NextTensorRms({}, manifest, cohort.views());
  ASSERT_TRUE(rms.ok()) << rms.status();
  const auto fair = cohort.Run({.rule = "krum", .f = 1, .normalise = true}, {.tensor_rms = *rms});
  ASSERT_TRUE(fair.ok()) << fair.status();
  EXPECT_NE(fair->order[0], 0u);
  for (const UpdateVerdict& verdict : fair->verdicts) {
    EXPECT_LE(verdict.score, fair->verdicts[0].score);
  }
}

// Dividing by the RMS, applying the rule and multiplying again is what `normalise` means.
TEST(RobustRule, NormalisingIsAChangeOfUnits) {
  const Manifest manifest = {{"a", DType::kF32, {4}}, {"b", DType::kF32, {4}}};
  const std::vector<double> rms = {8, 0.5};
  const Cohort::Rows rows = GaussRows(9, 8, 9);
  Cohort::Rows scaled = rows;
  for (std::vector<float>& row : scaled) {
    for (size_t at = 0; at < 8; ++at) row[at] /= static_cast<float>(rms[at / 4]);
  }
  const std::vector<float> root(8, 0.5f);
  std::vector<float> scaled_root = root;
  for (size_t at = 0; at < 8; ++at) scaled_root[at] /= static_cast<float>(rms[at / 4]);
  for (const std::string_view name : RobustRuleNames()) {
    if (name == "norm-bound") continue;  // its bound is in units of the updates
    RobustSettings settings = SettingsFor(name);
    const Cohort plain(manifest, scaled), own(manifest, rows);
    const UpdateView plain_view = plain.view(scaled_root), own_view = own.view(root);
    const auto want = plain.Run(settings, {.root = &plain_view});
    settings.normalise = true;
    const auto got = own.Run(settings, {.root = &own_view, .tensor_rms = rms});
    ASSERT_TRUE(want.ok() && got.ok()) << name << want.status() << got.status();
    for (size_t at = 0; at < 8; ++at) {
      EXPECT_NEAR(FlatOf(got->mean)[at] / rms[at / 4], FlatOf(want->mean)[at], 1e-12) << name;
    }
  }
}

TEST(RobustRule, NormalisingNeedsAScaleAboveZeroForEveryTensor) {
  const Cohort cohort(GaussRows(7, 4, 10));
  const std::vector<double> none, zero = {0.0}, bad = {std::numeric_limits<double>::quiet_NaN()};
  for (const auto& rms : {none, zero, bad}) {
    const absl::Status status =
        cohort.Run({.rule = "krum", .f = 1, .normalise = true}, {.tensor_rms = rms}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("robust.normalise"));
  }
}

TEST(NextTensorRms, LessThanHalfOfTheUpdatesCannotMoveIt) {
  const Manifest manifest = {{"a", DType::kF32, {2}}, {"b", DType::kF32, {1}}};
  Cohort::Rows rows = {{3, 4, 0}, {3, 4, 0}, {3, 4, 0}, {1e6f, 0, 0}, {1e6f, 0, 0}};
  const auto first = NextTensorRms({}, manifest, Cohort(manifest, rows).views());
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_NEAR((*first)[0], 5 / std::sqrt(2.0), 1e-12);
  EXPECT_EQ((*first)[1], 1);  // nothing known
  const std::vector<double> running = {10, 0.5};
  const auto next = NextTensorRms(running, manifest, Cohort(manifest, rows).views());
  EXPECT_NEAR((*next)[0], 9 + 0.1 * 5 / std::sqrt(2.0), 1e-12);
  EXPECT_EQ((*next)[1], 0.5);
  const std::vector<double> bad = {10, 0};
  EXPECT_FALSE(NextTensorRms(bad, manifest, Cohort(manifest, rows).views()).ok());
  EXPECT_FALSE(NextTensorRms({}, manifest, {}).ok());
  EXPECT_FALSE(NextTensorRms({}, manifest, Cohort(manifest, rows).views(), 1.0).ok());
  rows[2][1] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(NextTensorRms({}, manifest, Cohort(manifest, rows).views()).ok());
}

}  // namespace
}  // namespace rivulet
