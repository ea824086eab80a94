// The rules against tests/golden/vectors/robust_rules.json, to its relative tolerance of 1e-12.
#include <gtest/gtest.h>

#include "common/formats/json.h"
#include "tests/unit/aggregation/robust/cohort.h"

namespace rivulet {
namespace {

constexpr double kTolerance = 1e-12;

void ExpectClose(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t at = 0; at < got.size(); ++at) {
    EXPECT_NEAR(got[at], want[at], kTolerance * std::max(1.0, std::fabs(want[at]))) << at;
  }
}

class RobustVectors : public testing::Test {
 protected:
  void SetUp() override {
    auto json = ReadJson(RIVULET_SOURCE_DIR "/tests/golden/vectors/robust_rules.json");
    ASSERT_TRUE(json.ok()) << json.status();
    json_ = *std::move(json);
  }
  Cohort Set(const char* name) const { return Cohort(json_.at(name).at("X").get<Cohort::Rows>()); }
  nlohmann::json json_;
};

TEST_F(RobustVectors, MeanAndNormBound) {
  const auto& want = json_.at("set_a");
  ExpectClose(FlatOf(Set("set_a").Run({.rule = "mean"})->mean), want.at("mean"));
  const auto bounded =
      Set("set_a").Run({.rule = "norm-bound", .clip = want.at("norm_bound").at("C")});
  ExpectClose(FlatOf(bounded->mean), want.at("norm_bound").at("value"));
}

TEST_F(RobustVectors, MedianAndTrimmedMean) {
  for (const char* set : {"set_a", "set_b"}) {
    const auto& want = json_.at(set);
    const uint32_t f = want.at("f");
    ExpectClose(FlatOf(Set(set).Run({.rule = "median", .f = f})->mean), want.at("median"));
    const auto trimmed = Set(set).Run(
        {.rule = "trimmed-mean", .f = want.at("trimmed_mean").at("drop").get<uint32_t>()});
    ExpectClose(FlatOf(trimmed->mean), want.at("trimmed_mean").at("value"));
  }
}

TEST_F(RobustVectors, Krum) {
  const auto& want = json_.at("set_a").at("krum");
  const auto krum = Set("set_a").Run({.rule = "krum", .f = 1});
  ASSERT_TRUE(krum.ok()) << krum.status();
  std::vector<double> scores;
  for (const UpdateVerdict& verdict : krum->verdicts) scores.push_back(verdict.score);
  ExpectClose(scores, want.at("scores"));
  EXPECT_EQ(krum->order, std::vector<uint32_t>{want.at("selected").get<uint32_t>()});
  ExpectClose(FlatOf(krum->mean), want.at("value"));
}

TEST_F(RobustVectors, MultiKrum) {
  const auto& want = json_.at("set_a").at("multi_krum");
  const auto best = Set("set_a").Run({.rule = "multi-krum", .f = 1, .m = want.at("m")});
  std::vector<uint32_t> kept;
  for (uint32_t update = 0; update < best->verdicts.size(); ++update) {
    if (best->verdicts[update].kept) kept.push_back(update);
  }
  EXPECT_EQ(kept, want.at("selected").get<std::vector<uint32_t>>());
  ExpectClose(FlatOf(best->mean), want.at("value"));
}

TEST_F(RobustVectors, Bulyan) {
  const auto& want = json_.at("set_b").at("bulyan");
  const auto bulyan = Set("set_b").Run({.rule = "bulyan", .f = 2});
  ASSERT_TRUE(bulyan.ok()) << bulyan.status();
  EXPECT_EQ(bulyan->order, want.at("order_of_selection").get<std::vector<uint32_t>>());
  ExpectClose(FlatOf(bulyan->mean), want.at("value"));
}

TEST_F(RobustVectors, GeometricMedianAfterEachIteration) {
  const auto& want = json_.at("set_a").at("rfa");
  const std::vector<int64_t> weights = want.at("weights");
  for (int iterations = 1; iterations <= 3; ++iterations) {
    const auto median = Set("set_a").Run(
        {.rule = "geometric-median", .f = 1, .iterations = iterations, .nu = want.at("nu")},
        {.weights = weights});
    ExpectClose(FlatOf(median->mean), want.at("iterates").at(static_cast<size_t>(iterations)));
  }
}

TEST_F(RobustVectors, CentredClipping) {
  const auto& want = json_.at("set_a").at("centred_clipping");
  const auto clipped = Set("set_a").Run({.rule = "centred-clipping",
                                         .f = 1,
                                         .tau = want.at("tau"),
                                         .iterations = want.at("iterations")});
  ExpectClose(FlatOf(clipped->mean), want.at("value"));
}

TEST_F(RobustVectors, FlTrust) {
  const auto& want = json_.at("set_a").at("fltrust");
  const Cohort cohort = Set("set_a");
  const std::vector<float> g0 = want.at("g0");
  const UpdateView root = cohort.view(g0);
  const auto trusted = cohort.Run({.rule = "fltrust"}, {.root = &root});
  ASSERT_TRUE(trusted.ok()) << trusted.status();
  std::vector<double> trust;
  for (const UpdateVerdict& verdict : trusted->verdicts) {
    trust.push_back(std::max(verdict.score, 0.0));
    EXPECT_EQ(verdict.kept, verdict.score > 0);
  }
  ExpectClose(trust, want.at("trust"));
  ExpectClose(FlatOf(trusted->mean), want.at("value"));
}

}  // namespace
}  // namespace rivulet
