#include "common/terminal/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdlib>
#include <cstring>

namespace rivulet {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr auto kWaitLine = std::chrono::minutes(1);
constexpr int kBar = 24, kShortestBar = 8;  // columns

// Of standard error; 0: it does not say.
int Columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

template <typename... Args>
std::string Format(const char* format, Args... args) {
  char line[160];
  std::snprintf(line, sizeof line, format, args...);
  return line;
}

std::string Figures(const ProgressState& state) {
  std::string text;
  if (state.loss >= 0) text += Format(", loss=%.3f", state.loss);
  if (state.perplexity >= 0) text += Format(", ppl=%.2f", state.perplexity);
  if (state.uplink_bytes > 0) text += ", up=" + HumanBytes(state.uplink_bytes);
  if (state.raw_bytes > 0 && state.raw_bytes != state.uplink_bytes) {
    text += " of " + HumanBytes(state.raw_bytes);
  }
  if (!state.survivors.empty()) text += ", survivors=" + state.survivors;
  if (!state.epsilon.empty()) text += ", epsilon=" + state.epsilon;
  if (state.per_second > 0) {
    text += Format(", %.0f ", state.per_second) + std::string(state.counted) + "/s";
  }
  return text;
}

}  // namespace

std::string HumanBytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return Format("%" PRIu64 " B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return Format("%.1f %s", value, kUnits[unit]);
}

std::string HumanUplink(int64_t bytes, int64_t raw_bytes) {
  const std::string up = HumanBytes(static_cast<uint64_t>(bytes)) + " up";
  if (bytes == raw_bytes || raw_bytes == 0) return up;
  return up + " of " + HumanBytes(static_cast<uint64_t>(raw_bytes)) + " raw";
}

std::string HumanDuration(std::chrono::nanoseconds duration) {
  const int64_t seconds =
      std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(duration).count());
  const int hours = static_cast<int>(seconds / 3600);
  const int minutes = static_cast<int>(seconds / 60 % 60);
  if (hours > 0) return Format("%d:%02d:%02d", hours, minutes, static_cast<int>(seconds % 60));
  return Format("%02d:%02d", minutes, static_cast<int>(seconds % 60));
}

void EnterRounds(std::span<const RoundProgress> rounds, ProgressState& state) {
  int64_t tokens = 0, milliseconds = 0;
  for (const RoundProgress& round : rounds) {
    const std::string reported =
        std::to_string(round.reported) + "/" + std::to_string(round.invited);
    if (round.open) state.clients = reported + " reported";
    if (!round.done) continue;
    if (round.tokens > 0) state.loss = round.loss;  // else nobody says
    state.survivors = reported;
    tokens += round.tokens;
    milliseconds += round.milliseconds;
  }
  if (milliseconds > 0) {
    state.per_second = static_cast<double>(tokens) * 1e3 / static_cast<double>(milliseconds);
  }
}

std::string ProgressLine(const ProgressState& state, std::chrono::nanoseconds elapsed, int width) {
  const double share = state.rounds == 0
                           ? 0.0
                           : static_cast<double>(state.round) / static_cast<double>(state.rounds);
  std::string line =
      Format("round %" PRIu64 "/%" PRIu64 ": %3.0f%%", state.round, state.rounds, share * 100);
  if (width > 0) {
    const int full = static_cast<int>(share * width);
    line += "|" + std::string(full, '#') + std::string(width - full, ' ') + "|";
  }
  line += " [" + HumanDuration(elapsed);
  if (state.round > 0 && state.round < state.rounds) {
    line += "<" + HumanDuration(std::chrono::duration_cast<std::chrono::nanoseconds>(
                      elapsed * (1 / share - 1)));
  }
  line += Figures(state) + "]";
  if (!state.clients.empty())
    line += "  " + state.clients;
  else if (!state.waiting.empty())
    line += "  " + state.waiting;
  return line;
}

std::string FittedProgressLine(ProgressState state, std::chrono::nanoseconds elapsed, int columns) {
  std::string line = ProgressLine(state, elapsed, kBar);
  // The last column stays free: a cursor behind it would be on the next row.
  const auto excess = [&] { return static_cast<int>(line.size()) - (columns - 1); };
  if (columns <= 0 || excess() <= 0) return line;
  const int bar = kBar - excess();
  line = ProgressLine(state, elapsed, bar < kShortestBar ? 0 : bar);
  if (excess() <= 0) return line;
  state.raw_bytes = 0;
  state.survivors.clear();
  state.epsilon.clear();
  line = ProgressLine(state, elapsed, 0);
  if (excess() <= 0) return line;
  state.perplexity = -1;
  line = ProgressLine(state, elapsed, 0);
  if (excess() > 0) line.resize(static_cast<size_t>(columns - 1));
  return line;
}

ProgressBar::ProgressBar(bool enabled) : start_(std::chrono::steady_clock::now()) {
  const char* term = std::getenv("TERM");
  const bool dumb = term == nullptr || std::strcmp(term, "dumb") == 0;
  terminal_ = enabled && !dumb && isatty(STDERR_FILENO) == 1;
  last_wait_line_ = start_;
}

ProgressBar::~ProgressBar() { Finish(); }

void ProgressBar::Update(const ProgressState& state, std::chrono::steady_clock::time_point now) {
  const bool new_round = state.round != last_round_;
  const std::chrono::nanoseconds elapsed = state.elapsed.value_or(now - start_);
  if (terminal_) {
    if (drawn_ && !new_round && now - last_draw_ < kRedraw) return;
    std::fprintf(stderr, "\r%s\033[K", FittedProgressLine(state, elapsed, Columns()).c_str());
    std::fflush(stderr);
    drawn_ = true;
    last_draw_ = now;
  } else if (new_round) {
    ProgressState done = state;  // who works on the next round changes while nobody reads the line
    done.clients.clear();
    done.waiting.clear();
    std::fprintf(stderr, "%s\n", ProgressLine(done, elapsed, 0).c_str());
  } else if (!state.waiting.empty() && now - last_wait_line_ >= kWaitLine) {
    std::fprintf(stderr, "%s\n", state.waiting.c_str());
    last_wait_line_ = now;
  }
  last_round_ = state.round;
}

void ProgressBar::Finish() {
  if (drawn_) std::fputc('\n', stderr);
  drawn_ = false;
}

}  // namespace rivulet
