#include "common/terminal/progress.h"

#include <gtest/gtest.h>

namespace rivulet {
namespace {

using std::chrono::seconds;

TEST(Progress, BytesAndDurationsReadAsPeopleWriteThem) {
  EXPECT_EQ(HumanBytes(512), "512 B");
  EXPECT_EQ(HumanBytes(1536), "1.5 KiB");
  EXPECT_EQ(HumanBytes(uint64_t{3} << 30), "3.0 GiB");
  EXPECT_EQ(HumanUplink(1536, 1536), "1.5 KiB up");
  EXPECT_EQ(HumanUplink(1536, 6144), "1.5 KiB up of 6.0 KiB raw");
  EXPECT_EQ(HumanUplink(0, 0), "0 B up");
  EXPECT_EQ(HumanDuration(seconds(201)), "03:21");
  EXPECT_EQ(HumanDuration(seconds(3801)), "1:03:21");
}

// 3 of 12 rounds after 60 s: three times as long to go.
TEST(Progress, LineShowsShareTimeLeftAndFigures) {
  ProgressState state;
  state.round = 3;
  state.rounds = 12;
  state.loss = 2.1314;
  state.uplink_bytes = 1536;
  EXPECT_EQ(ProgressLine(state, seconds(60), 8),
            "round 3/12:  25%|##      | [01:00<03:00, loss=2.131, up=1.5 KiB]");
}

TEST(Progress, NothingKnownYetIsNotShown) {
  ProgressState state;
  state.rounds = 2;
  state.waiting = "waiting: 1 of 2 nodes";
  EXPECT_EQ(ProgressLine(state, seconds(5), 0), "round 0/2:   0% [00:05]  waiting: 1 of 2 nodes");
}

TEST(Progress, WhoHasReportedStandsInPlaceOfWhatIsWaitedFor) {
  ProgressState state;
  state.rounds = 2;
  state.clients = "1/3 reported";
  state.waiting = "waiting: 1 of 3 updates";
  EXPECT_EQ(ProgressLine(state, seconds(5), 0), "round 0/2:   0% [00:05]  1/3 reported");
}

// Standard error of a test is no terminal: a line a round, about that round alone.
TEST(Progress, APlainLineSaysNothingOfTheNextRound) {
  ProgressState state;
  state.round = 1;
  state.rounds = 2;
  state.clients = "0/3 reported";
  state.waiting = "waiting: 0 of 3 updates";
  testing::internal::CaptureStderr();
  ProgressBar bar(/*enabled=*/false);
  bar.Update(state);
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("round 1/2:  50%"), std::string::npos) << text;
  EXPECT_EQ(text.find("reported"), std::string::npos) << text;
  EXPECT_EQ(text.find("waiting"), std::string::npos) << text;
}

}  // namespace
}  // namespace rivulet
