#include "aggregation/robust/distances.h"

#include <gtest/gtest.h>

#include "tests/unit/aggregation/robust/cohort.h"

namespace rivulet {
namespace {

absl::StatusOr<DistanceTable> FlatOfCohort(const Cohort& cohort, const RobustSettings& settings) {
  RobustContext context;
  context.manifest = &cohort.manifest();
  const std::vector<UpdateView> views = cohort.views();
  RV_ASSIGN_OR_RETURN(const UpdateBatch batch, UpdateBatch::Make(settings, views, context));
  return FlatDistances(batch);
}

TEST(FlatDistances, AreThoseOfTheDifferences) {
  const Cohort cohort(GaussRows(9, 5000, 11));
  const auto table = FlatOfCohort(cohort, {});
  ASSERT_TRUE(table.ok());
  Cohort copy = cohort;
  for (size_t i = 0; i < 9; ++i) {
    EXPECT_EQ(table->at(i, i), 0);
    for (size_t j = 0; j < 9; ++j) {
      long double want = 0;
      for (size_t at = 0; at < 5000; ++at) {
        const long double difference =
            static_cast<long double>(copy.rows()[i][at]) - copy.rows()[j][at];
        want += difference * difference;
      }
      EXPECT_NEAR(table->at(i, j), want, 1e-12 * 10000);
      EXPECT_EQ(table->at(i, j), table->at(j, i));
    }
  }
}

// |x|^2 is 1e16 and the squared distance 1: the Gram matrix alone would have no digit right.
TEST(FlatDistances, OfNearVectorsFarFromTheOriginAreNotLostInCancellation) {
  Cohort::Rows rows(3, std::vector<float>(2000, 0.0f));
  for (std::vector<float>& row : rows) row[0] = 1e8f;
  rows[1][1] = 1;
  rows[2][1999] = 0.5;
  const auto table = FlatOfCohort(Cohort(rows), {});
  EXPECT_EQ(table->at(0, 1), 1);
  EXPECT_EQ(table->at(0, 2), 0.25);
  EXPECT_EQ(table->at(1, 2), 1.25);
}

TEST(FlatDistances, OfEqualVectorsAreZero) {
  Cohort::Rows rows = GaussRows(2, 1001, 12);
  rows.push_back(rows[0]);
  const auto table = FlatOfCohort(Cohort(rows), {});
  EXPECT_EQ(table->at(0, 2), 0);
  EXPECT_GT(table->at(0, 1), 0);
}

TEST(FlatDistances, MeetClippedUpdates) {
  const auto table = FlatOfCohort(Cohort({{30, 40}, {-3, -4}}), {.clip = 10});
  EXPECT_NEAR(table->at(0, 1), 225, 1e-12);  // (6, 8) to (-3, -4)
}

// r = 2, A [2, 5], B [4, 2], and a head that is no factor.
Manifest ModuleManifest() {
  return {{"head", DType::kF32, {3}},
          {"m.lora_A.weight", DType::kF32, {2, 5}},
          {"m.lora_B.weight", DType::kF32, {4, 2}}};
}

// The dense (B + b)(A + a), row by row, and the head behind it.
std::vector<double> DenseOf(const ParameterSet& global, const UpdateView& update) {
  std::vector<double> dense;
  for (size_t out = 0; out < 4; ++out) {
    for (size_t in = 0; in < 5; ++in) {
      double sum = 0;
      for (size_t q = 0; q < 2; ++q) {
        const double b =
            static_cast<double>(global.floats(2)[out * 2 + q]) + update[2][out * 2 + q];
        const double a = static_cast<double>(global.floats(1)[q * 5 + in]) + update[1][q * 5 + in];
        sum += b * a;
      }
      dense.push_back(sum);
    }
  }
  dense.insert(dense.end(), update[0].begin(), update[0].end());
  return dense;
}

TEST(ProductDistances, AreThoseOfTheDenseProducts) {
  const Manifest manifest = ModuleManifest();
  ParameterSet global(manifest);
  for (size_t tensor = 0; tensor < 3; ++tensor) {
    RandomStream(5, Purpose::kInitialValues, 0)
        .FillGauss(static_cast<uint32_t>(tensor), global.floats(tensor));
  }
  const Cohort cohort(manifest, GaussRows(5, 21, 13));
  const std::vector<UpdateView> views = cohort.views();
  const RobustContext context{.manifest = &manifest, .global = &global};
  const auto batch = UpdateBatch::Make({}, views, context);
  const auto table = ProductDistances(*batch);
  ASSERT_TRUE(table.ok()) << table.status();
  for (size_t i = 0; i < 5; ++i) {
    for (size_t j = 0; j < 5; ++j) {
      const std::vector<double> one = DenseOf(global, views[i]), two = DenseOf(global, views[j]);
      double want = 0;
      for (size_t at = 0; at < one.size(); ++at) want += (one[at] - two[at]) * (one[at] - two[at]);
      // Factors are rounded to binary32: a relative 2^-24 in each of about 20 products.
      EXPECT_NEAR(table->at(i, j), want, 1e-5 * (want + 1));
    }
  }
}

// The rank attack: A times 1000 and B divided by it is the same product and far off in flat space.
TEST(ProductDistances, DoNotSeeAChangeOfScaleBetweenTheFactors) {
  const Manifest manifest = {{"m.lora_A.weight", DType::kF32, {1, 2}},
                             {"m.lora_B.weight", DType::kF32, {2, 1}}};
  ParameterSet global(manifest);
  const Cohort cohort(manifest,
                      {{1, 2, 3, 4}, {1024, 2048, 3.0f / 1024, 4.0f / 1024}, {1, 2, 3, 5}});
  const std::vector<UpdateView> views = cohort.views();
  const RobustContext context{.manifest = &manifest, .global = &global};
  const auto batch = UpdateBatch::Make({}, views, context);
  const auto products = ProductDistances(*batch);
  ASSERT_TRUE(products.ok()) << products.status();
  EXPECT_NEAR(products->at(0, 1), 0, 1e-9);
  EXPECT_NEAR(products->at(0, 2), 5, 1e-9);
  EXPECT_GT(FlatDistances(*batch)->at(0, 1), 1e6);
}

TEST(ProductDistances, NeedTheModelAndItsFactors) {
  const Cohort flat(GaussRows(7, 4, 14));
  const RobustSettings settings{.rule = "krum", .f = 1, .product_space = true};
  EXPECT_EQ(flat.Run(settings).status().code(), absl::StatusCode::kInvalidArgument);
  ParameterSet global(flat.manifest());
  EXPECT_EQ(flat.Run(settings, {.global = &global}).status().message(),
            "robust.product-space: got no pair of LoRA factors, want at least one");
  ParameterSet other(ModuleManifest());
  EXPECT_FALSE(flat.Run(settings, {.global = &other}).ok());
}

TEST(ProductDistances, ChooseForKrumAndRefuseWhatIsNotFinite) {
  const Manifest manifest = ModuleManifest();
  ParameterSet global(manifest);
  Cohort cohort(manifest, GaussRows(7, 21, 15));
  const RobustSettings settings{.rule = "krum", .f = 1, .product_space = true};
  ASSERT_TRUE(cohort.Run(settings, {.global = &global}).ok());
  cohort.rows()[2][20] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(cohort.Run(settings, {.global = &global}).status().message(),
            "update 2: m.lora_B.weight[7]: got inf, want a finite value");
}

}  // namespace
}  // namespace rivulet
