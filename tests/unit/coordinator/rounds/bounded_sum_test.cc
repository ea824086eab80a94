#include "coordinator/rounds/bounded_sum.h"

#include <cmath>

#include "privacy/dp/mechanism.h"
#include "private_fixture.h"

namespace rivulet {
namespace {

// All ten numbers alike, of this norm together.
ParameterSet OfNorm(double norm) {
  ParameterSet update(ToyManifest());
  for (size_t row = 0; row < update.size(); ++row) {
    for (float& value : update.floats(row)) value = static_cast<float>(norm / std::sqrt(10.0));
  }
  return update;
}

const double kBound = CentralNoise{1, /*clip_norm=*/0.5, /*values=*/10}.Sensitivity();

TEST(AddBounded, AClippedUpdateIsAddedAsItIs) {
  FixedPointSum sum = *FixedPointSum::Make(ToyManifest());
  FixedPointSum want = *FixedPointSum::Make(ToyManifest());
  for (const double norm : {0.5, 0.25, 0.0}) {
    const absl::Status added = AddBounded(OfNorm(norm), kBound, sum);
    EXPECT_TRUE(added.ok()) << norm << ": " << added;
    ASSERT_TRUE(want.Add(OfNorm(norm), 1).ok());
  }
  EXPECT_EQ(sum.weight(), 3);
  EXPECT_TRUE(std::equal(sum.words().begin(), sum.words().end(), want.words().begin()));
}

// The bound is 2^23 + sqrt(10)/2 = 8388609.58 steps of 2^-24.
TEST(AddBounded, AnUpdateThatIsTooLargeByAStepIsRefusedAndChangesNothing) {
  FixedPointSum sum = *FixedPointSum::Make(ToyManifest());
  ParameterSet update(ToyManifest());
  update.floats(0)[0] = 0.5f + 2 * 0x1p-24f;  // 8388610 steps
  EXPECT_EQ(AddBounded(update, kBound, sum).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(AddBounded(OfNorm(3), kBound, sum).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(sum.weight(), 0);
  for (const int64_t word : sum.words()) EXPECT_EQ(word, 0);
  update.floats(0)[0] = 0.5f + 0x1p-24f;  // 8388609 steps
  EXPECT_TRUE(AddBounded(update, kBound, sum).ok());
}

}  // namespace
}  // namespace rivulet
