#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace rivulet {

// What a line of progress says about a run. Negative or empty values are left out.
struct ProgressState {
  uint64_t round = 0;
  uint64_t rounds = 0;
  double loss = -1;                     // nats, mean of the last round
  double perplexity = -1;               // held out, last evaluation
  uint64_t uplink_bytes = 0;            // so far, as sent
  uint64_t raw_bytes = 0;               // what they stand for; shown where they differ
  std::string survivors;                // "7/8": in the last round's result, of those invited
  std::string epsilon;                  // spent so far
  double per_second = 0;                // of what is counted
  std::string_view counted = "tokens";  // or "examples"
  std::string clients;                  // "5/8 reported"
  std::string waiting;  // "waiting: 2 more nodes, 00:04:12 left"; shown when `clients` is empty
  std::optional<std::chrono::nanoseconds> elapsed;  // of the run; absent: since the bar was made
};

// One attempt at a round; counts that nobody says are 0.
struct RoundProgress {
  bool open = false, done = false;  // neither: abandoned, or being summed
  size_t reported = 0, invited = 0;
  double loss = 0;  // nats
  int64_t tokens = 0;
  int64_t milliseconds = 0;
};

// What the attempts of a run, in order, come to: loss and survivors of the last round that is done,
// who has reported in the open one, and the mean pace of those done.
void EnterRounds(std::span<const RoundProgress> rounds, ProgressState& state);

// One line that redraws itself on a terminal, plain lines elsewhere (one per round, at most one
// "waiting" line a minute). Writes to stderr only. Not thread safe.
class ProgressBar {
 public:
  // `enabled` false (--no-progress) or TERM=dumb: as if not a terminal.
  explicit ProgressBar(bool enabled);
  ~ProgressBar();

  void Update(const ProgressState& state,
              std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now());
  // Ends the redrawn line so that other output can follow.
  void Finish();

 private:
  bool terminal_;
  bool drawn_ = false;
  uint64_t last_round_ = 0;
  std::chrono::steady_clock::time_point start_, last_draw_, last_wait_line_;
};

// "1.3 MiB", "512 B". IEC units, one decimal.
std::string HumanBytes(uint64_t bytes);
// "1.2 MiB up", and where updates were coded "1.2 MiB up of 9.2 MiB raw".
std::string HumanUplink(int64_t bytes, int64_t raw_bytes);
// "03:21" or "1:03:21".
std::string HumanDuration(std::chrono::nanoseconds duration);
// The bar and its figures without colour or cursor movement; `width` columns of bar. For tests and
// plain lines.
std::string ProgressLine(const ProgressState& state, std::chrono::nanoseconds elapsed, int width);
// The same in less than `columns`, as long as that is known (> 0): with a shorter bar or none, then
// without raw bytes, survivors and epsilon, then without perplexity, then cut.
std::string FittedProgressLine(ProgressState state, std::chrono::nanoseconds elapsed, int columns);

}  // namespace rivulet
