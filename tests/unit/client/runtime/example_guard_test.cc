#include "client/runtime/example_guard.h"

#include <gmock/gmock.h>

namespace rivulet {
namespace {

JobSpec ExampleSpec() {
  JobSpec spec;
  spec.privacy.mechanism = "example";
  spec.privacy.noise_multiplier = 5;
  spec.privacy.target_delta = 1e-3;
  spec.train.max_steps = 4;
  return spec;
}

TEST(ExampleGuard, DeltaStaysBelowOneOfTheExamples) {
  EXPECT_TRUE(ExamplePrivacyOf(ExampleSpec(), 50).ok());
  EXPECT_TRUE(ExamplePrivacyOf(ExampleSpec(), 999).ok());
  const absl::Status refused = ExamplePrivacyOf(ExampleSpec(), 1000).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ExitCodeOf(refused), ExitCode::kConfig);
  EXPECT_THAT(
      std::string(refused.message()),
      testing::AllOf(testing::HasSubstr("privacy.target-delta"), testing::HasSubstr("got 0.001"),
                     testing::HasSubstr("below 1/population = 0.001")));
}

}  // namespace
}  // namespace rivulet
