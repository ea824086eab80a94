#include "common/terminal/progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

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
  state.perplexity = 52.406;
  state.uplink_bytes = 1536;
  state.per_second = 1234.4;
  EXPECT_EQ(
      ProgressLine(state, seconds(60), 8),
      "round 3/12:  25%|##      | [01:00<03:00, loss=2.131, ppl=52.41, up=1.5 KiB, 1234 tokens/s]");
  state.counted = "examples";
  EXPECT_NE(ProgressLine(state, seconds(60), 8).find(", 1234 examples/s]"), std::string::npos);
}

TEST(Progress, LineShowsSurvivorsEpsilonAndRawBytes) {
  ProgressState state;
  state.round = state.rounds = 2;
  state.uplink_bytes = 1536;
  state.raw_bytes = 6144;
  state.survivors = "7/8";
  state.epsilon = "3.21";
  EXPECT_EQ(ProgressLine(state, seconds(5), 0),
            "round 2/2: 100% [00:05, up=1.5 KiB of 6.0 KiB, survivors=7/8, epsilon=3.21]");
  state.raw_bytes = 1536;  // sent as it is
  EXPECT_EQ(ProgressLine(state, seconds(5), 0),
            "round 2/2: 100% [00:05, up=1.5 KiB, survivors=7/8, epsilon=3.21]");
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

// 1500 tokens in 3 s; the abandoned attempt says nothing.
TEST(Progress, AttemptsComeToTheLastLossTheMeanPaceAndWhoHasReported) {
  const std::vector<RoundProgress> rounds = {
      {.done = true, .reported = 3, .invited = 3, .loss = 4, .tokens = 500, .milliseconds = 1000},
      {.reported = 1, .invited = 3, .loss = 9, .tokens = 7, .milliseconds = 7},
      {.done = true, .reported = 2, .invited = 3, .loss = 3, .tokens = 1000, .milliseconds = 2000},
      {.open = true, .reported = 1, .invited = 4}};
  ProgressState state;
  EnterRounds(rounds, state);
  EXPECT_EQ(state.loss, 3);
  EXPECT_EQ(state.survivors, "2/3");
  EXPECT_EQ(state.clients, "1/4 reported");
  EXPECT_EQ(state.per_second, 500);
  ProgressState noised;
  EnterRounds(std::vector<RoundProgress>{{.done = true, .loss = 3}}, noised);
  EXPECT_LT(noised.loss, 0) << "nobody says it";
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

// What standard error receives while it is a pseudo-terminal.
class OnTerminal {
 public:
  OnTerminal() : kept_(dup(STDERR_FILENO)) {
    int terminal = -1;
    EXPECT_EQ(openpty(&master_, &terminal, nullptr, nullptr, nullptr), 0);
    dup2(terminal, STDERR_FILENO);
    close(terminal);
    if (const char* const term = std::getenv("TERM")) term_ = term;
    setenv("TERM", "xterm", 1);
  }
  ~OnTerminal() {
    setenv("TERM", term_.c_str(), 1);
    dup2(kept_, STDERR_FILENO);
    close(kept_);
    close(master_);
  }
  void Resize(unsigned short columns) const {
    const winsize size{24, columns, 0, 0};
    EXPECT_EQ(ioctl(STDERR_FILENO, TIOCSWINSZ, &size), 0);
  }
  // What was written since the last call: a few short lines, which the terminal holds.
  std::string Read() const {
    std::fflush(stderr);
    fcntl(master_, F_SETFL, O_NONBLOCK);
    char text[4096];
    const ssize_t size = read(master_, text, sizeof text);
    return size < 0 ? "" : std::string(text, static_cast<size_t>(size));
  }

 private:
  int kept_, master_ = -1;
  std::string term_ = "dumb";
};

TEST(Progress, OnATerminalTheLineIsDrawnOverUntilItIsFinished) {
  const OnTerminal terminal;
  ProgressState state;
  state.rounds = 2;
  ProgressBar bar(/*enabled=*/true);
  const auto drawn = std::chrono::steady_clock::now();
  const std::string nothing = "\rround 0/2:   0%|" + std::string(24, ' ') + "| [";
  bar.Update(state, drawn);
  EXPECT_THAT(terminal.Read(),
              testing::AllOf(testing::StartsWith(nothing), testing::EndsWith("]\033[K")));
  bar.Update(state, drawn + std::chrono::milliseconds(99));
  EXPECT_EQ(terminal.Read(), "") << "the same round, within a tenth of a second";
  bar.Update(state, drawn + std::chrono::milliseconds(100));
  EXPECT_THAT(terminal.Read(), testing::StartsWith(nothing));
  state.round = 2;
  bar.Update(state, drawn + std::chrono::milliseconds(101));
  EXPECT_THAT(terminal.Read(),
              testing::StartsWith("\rround 2/2: 100%|" + std::string(24, '#') + "| ["));
  bar.Finish();
  EXPECT_EQ(terminal.Read(), "\r\n") << "the terminal's own end of a line";
}

// Round 3 of ten of the quickstart, with all that a line can say.
ProgressState Whole() {
  ProgressState state;
  state.round = 3;
  state.rounds = 10;
  state.loss = 4.021;
  state.perplexity = 226.78;
  state.uplink_bytes = 10380902;
  state.raw_bytes = 29045555;
  state.survivors = "8/8";
  state.epsilon = "1.25";
  state.per_second = 9334;
  state.clients = "5/8 reported";
  return state;
}

TEST(Progress, ALineIsShorterThanItsTerminal) {
  const auto elapsed = seconds(13);
  const ProgressState state = Whole();
  const std::string whole = FittedProgressLine(state, elapsed, 0);
  EXPECT_EQ(whole, ProgressLine(state, elapsed, 24));
  EXPECT_EQ(FittedProgressLine(state, elapsed, static_cast<int>(whole.size()) + 1), whole);
  for (int columns = 1; columns <= 160; ++columns) {
    EXPECT_LT(FittedProgressLine(state, elapsed, columns).size(), static_cast<size_t>(columns))
        << columns;
  }
  EXPECT_EQ(FittedProgressLine(state, elapsed, static_cast<int>(whole.size()) - 9),
            ProgressLine(state, elapsed, 14));
  EXPECT_EQ(FittedProgressLine(state, elapsed, 80),
            "round 3/10:  30% [00:13<00:30, loss=4.021, up=9.9 MiB, 9334 tokens/s]  5/8 repo");
}

TEST(Progress, AWideLineIsFittedToTheTerminalAsItIsNow) {
  const OnTerminal terminal;
  ProgressBar bar(/*enabled=*/true);
  const auto drawn = std::chrono::steady_clock::now();
  for (const unsigned short columns : {80, 132, 60}) {
    terminal.Resize(columns);
    bar.Update(Whole(), drawn + seconds(columns));
    const std::string text = terminal.Read();
    EXPECT_GT(text.size(), 55u);
    EXPECT_LE(text.size(), columns - 1u + std::string("\r\033[K").size()) << text;
    bar.Update(ProgressState());  // so that the next draw is of another round
    terminal.Read();
  }
}

TEST(Progress, WhoComesLateToARunSeesTheTimeOfTheRun) {
  ProgressState state = Whole();
  state.round = 5;
  state.elapsed = std::chrono::hours(3);
  testing::internal::CaptureStderr();
  ProgressBar bar(/*enabled=*/false);
  bar.Update(state);
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("[3:00:00<3:00:00,"), std::string::npos) << text;
}

TEST(Progress, ADumbTerminalGetsPlainLines) {
  const OnTerminal terminal;
  setenv("TERM", "dumb", 1);
  ProgressState state;
  state.round = 1;
  state.rounds = 2;
  ProgressBar(/*enabled=*/true).Update(state);
  const std::string text = terminal.Read();
  EXPECT_EQ(text.find("round 1/2:  50% ["), 0u) << text;
  EXPECT_EQ(text.find('\033'), std::string::npos) << text;
}

}  // namespace
}  // namespace rivulet
