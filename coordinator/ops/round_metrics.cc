#include "coordinator/ops/round_metrics.h"

namespace rivulet {
namespace {

const std::vector<double>& Bounds() {
  static const std::vector<double> seconds = {1, 5, 15, 60, 300, 900, 3600, 14400};
  return seconds;
}

}  // namespace

RoundMetrics::RoundMetrics(Federation& federation)
    : federation_(federation),
      seconds_(Bounds()),
      wait_seconds_(Bounds()),
      subscription_(federation.Subscribe("", [this](const JobEvent& event) { Take(event); })) {}

RoundMetrics::~RoundMetrics() { federation_.Unsubscribe(subscription_); }

void RoundMetrics::Take(const JobEvent& event) {
  const std::lock_guard lock(mutex_);
  if (event.type == "round.completed") {
    ++completed_;
    seconds_.Observe(event.Number("milliseconds") / 1000);
  }
  const bool abandoned = event.type == "round.abandoned" || event.type == "round.lost";
  if (abandoned) ++abandoned_;
  if (event.type == "eval.completed" && event.Number("counted") > 0) {
    held_out_[event.job] = {event.Number("loss"), event.Number("accuracy")};
  }
  if (event.type == "round.started" || event.type == "eval.started") {
    const auto since = free_since_ms_.find(event.job);
    if (since == free_since_ms_.end()) return;  // it waited since before this program's start
    wait_seconds_.Observe(static_cast<double>(event.unix_ms - since->second) / 1000);
    free_since_ms_.erase(since);
  } else if (event.type == "job.submitted" || event.type == "round.completed" || abandoned ||
             event.type == "eval.completed") {
    free_since_ms_[event.job] = event.unix_ms;
  } else if (event.type == "job.completed" || event.type == "job.failed" ||
             event.type == "job.stopped") {
    free_since_ms_.erase(event.job);
  }
}

void RoundMetrics::WriteHeldOut(Exposition& page, const std::set<std::string>& jobs) {
  std::erase_if(held_out_, [&jobs](const auto& row) { return !jobs.contains(row.first); });
  page.Family("rivulet_global_loss", "gauge", "Held-out loss of a job's last evaluation, nats.");
  for (const auto& [job, figures] : held_out_) page.Sample(figures.loss, {{"fl_job", job}});
  page.Family("rivulet_global_accuracy_ratio", "gauge",
              "Held-out accuracy of a job's last evaluation.");
  for (const auto& [job, figures] : held_out_) page.Sample(figures.accuracy, {{"fl_job", job}});
}

void RoundMetrics::WriteTo(Exposition& page, const std::set<std::string>& jobs) {
  const std::lock_guard lock(mutex_);
  page.Family("rivulet_rounds_total", "counter", "Rounds by outcome.");
  page.Sample(static_cast<double>(completed_), {{"outcome", "completed"}});
  page.Sample(static_cast<double>(abandoned_), {{"outcome", "abandoned"}});
  seconds_.WriteTo(page, "rivulet_round_duration_seconds", "From opening a round to publishing.");
  wait_seconds_.WriteTo(page, "rivulet_round_wait_seconds",
                        "Waiting for agents until a round or an evaluation opened.");
  WriteHeldOut(page, jobs);
}

}  // namespace rivulet
