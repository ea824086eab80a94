#include "coordinator/cli/job_watch.h"

#include <signal.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <iostream>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include "common/job/counted_unit.h"
#include "coordinator/cli/job_output.h"
#include "privacy/dp/accountant.h"

namespace rivulet {
namespace {

constexpr std::chrono::milliseconds kRefresh{500};
constexpr std::chrono::minutes kPatience{10};

std::atomic<bool> interrupted{false};

class InterruptScope {
 public:
  InterruptScope() {
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = true; };
    sigaction(SIGINT, &action, &old_);
  }
  ~InterruptScope() { sigaction(SIGINT, &old_, nullptr); }

 private:
  struct sigaction old_ {};
};

absl::Status EndOfJob(const v1::Job& job) {
  if (job.exit_code() == 0) return absl::OkStatus();
  std::string text = "job " + job.id() + " " + job.state() + ": " + job.reason();
  for (const v1::FailureCount& failure : job.failures()) {
    text += "\n  " + std::to_string(failure.count()) + " times " + failure.code() + ": " +
            failure.text();
  }
  return WithExit(Refuse(absl::StatusCode::kAborted, text + "\nSee rivulet job show " + job.id()),
                  static_cast<ExitCode>(job.exit_code()));
}

bool IsLastEvent(std::string_view type) {
  return type == "job.completed" || type == "job.failed" || type == "job.stopped";
}

// The events go to stdout while the main thread redraws. Its end cuts the stream.
class EventPrinter {
 public:
  EventPrinter(OperatorClient client, std::string job)
      : client_(std::move(client)),
        job_(std::move(job)),
        thread_([this](const std::stop_token& stop) { Run(stop); }) {}

  // Of a job that has ended: its last events are printed too, unless the coordinator is away.
  void Finish() {
    last_try_ = true;
    while (!done_ && !interrupted) std::this_thread::sleep_for(kRefresh / 10);
  }

 private:
  void Run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const bool last_try = last_try_;
      std::string last;
      const absl::Status ended = client_.Watch(job_, stop, [&last](const v1::JobEvent& event) {
        std::cout << EventJson(event) << std::endl;
        last = event.type();
      });
      // A stream may break behind the last event, and another would tell it once more.
      if (ended.ok() || last_try || IsLastEvent(last)) break;
      std::this_thread::sleep_for(kRefresh);
    }
    done_ = true;
  }
  OperatorClient client_;
  const std::string job_;
  std::atomic<bool> last_try_{false};
  std::atomic<bool> done_{false};
  std::jthread thread_;
};

bool WorthWaiting(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kDeadlineExceeded;
}

absl::StatusOr<v1::Job> FollowToEnd(OperatorClient& client, const std::string& job,
                                    ProgressBar& bar) {
  auto heard = std::chrono::steady_clock::now();
  while (!interrupted) {
    absl::StatusOr<v1::Job> view = client.Show(job);
    const auto now = std::chrono::steady_clock::now();
    if (view.ok()) {
      heard = now;
      bar.Update(ProgressOf(*view));
      if (view->ended()) return view;
    } else if (!WorthWaiting(view.status()) || now - heard > kPatience) {
      return view.status();
    }
    std::this_thread::sleep_for(kRefresh);
  }
  return WithExit(absl::CancelledError("interrupted; job " + job + " goes on"),
                  ExitCode::kInterrupted);
}

}  // namespace

ProgressState ProgressOf(const v1::Job& job) {
  ProgressState state;
  state.round = job.round();
  state.rounds = job.num_rounds();
  state.uplink_bytes = static_cast<uint64_t>(job.bytes_up());
  state.raw_bytes = static_cast<uint64_t>(job.raw_bytes_up());
  if (job.epsilon() > 0) state.epsilon = FormatEpsilon(job.epsilon());
  state.waiting = job.waiting();
  state.elapsed = std::chrono::milliseconds(job.elapsed_ms());  // who watches may come late
  state.counted = CountedUnit(job.document());
  std::vector<RoundProgress> rounds;
  for (const v1::Round& round : job.rounds()) {
    rounds.push_back({round.state() == "open", round.state() == "done",
                      static_cast<size_t>(round.reported_size()),
                      static_cast<size_t>(round.cohort_size()), round.loss(), round.tokens(),
                      round.milliseconds()});
  }
  EnterRounds(rounds, state);
  for (const v1::EvaluationResult& result : job.evaluations()) {
    if (result.done() && result.counted() > 0) state.perplexity = std::exp(result.loss());
  }
  return state;
}

absl::Status WatchJob(const OperatorSettings& settings, OperatorClient& client,
                      const std::string& job) {
  const InterruptScope scope;
  RV_ASSIGN_OR_RETURN(const v1::Job first, client.Show(job));
  std::optional<EventPrinter> printer;
  if (settings.json()) printer.emplace(client, first.id());
  ProgressBar bar(!settings.no_progress);
  const absl::StatusOr<v1::Job> last = FollowToEnd(client, first.id(), bar);
  bar.Finish();
  RV_RETURN_IF_ERROR(last.status());
  if (printer.has_value()) printer->Finish();
  if (!settings.json()) std::cout << JobText(*last);
  return EndOfJob(*last);
}

}  // namespace rivulet
