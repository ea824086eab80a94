#include "common/status.h"

#include <gtest/gtest.h>

namespace rivulet {
namespace {

TEST(Status, RefuseKeepsCodeMessageAndRemedy) {
  const absl::Status status =
      Refuse(absl::StatusCode::kNotFound, "x: got 1, want 2", Remedy::kResync);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "x: got 1, want 2");
  EXPECT_EQ(RemedyOf(status), Remedy::kResync);
  EXPECT_EQ(RemedyOf(absl::OkStatus()), Remedy::kNone);
}

TEST(Status, AttachedExitCodeWinsOverTheDefault) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), ExitCode::kConnection);
  EXPECT_EQ(ExitCodeOf(WithExit(absl::UnavailableError(""), ExitCode::kPolicy)), ExitCode::kPolicy);
}

TEST(Status, ADefaultExitCodeIsOnlyForErrorsThatHaveNone) {
  EXPECT_EQ(ExitCodeOf(WithDefaultExit(absl::OkStatus(), ExitCode::kConfig)), ExitCode::kOk);
  EXPECT_EQ(ExitCodeOf(WithDefaultExit(absl::DataLossError(""), ExitCode::kConfig)),
            ExitCode::kConfig);
  EXPECT_EQ(ExitCodeOf(WithDefaultExit(absl::UnavailableError(""), ExitCode::kConfig)),
            ExitCode::kConnection);
}

TEST(Status, AnnotateKeepsCodeAndPayloads) {
  const absl::Status status =
      Annotate(WithExit(absl::DataLossError("short"), ExitCode::kState), "a.db");
  EXPECT_EQ(status.message(), "a.db: short");
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kState);
}

}  // namespace
}  // namespace rivulet
