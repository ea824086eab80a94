#include "simulations/report/run_directory.h"

#include <cerrno>
#include <cmath>
#include <ctime>

#include "common/formats/tensorboard.h"
#include "common/io/file.h"
#include "simulations/report/plot.h"

namespace rivulet {
namespace {

std::string UtcStamp(int64_t unix_ms) {
  const time_t seconds = unix_ms / 1000;
  struct tm utc;
  gmtime_r(&seconds, &utc);
  char text[32];
  strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc);
  return text;
}

std::string Plot(const JobView& view) {
  PlotPanel loss{"training loss (nats)", {}}, perplexity{"held-out perplexity", {}};
  for (const RoundView& round : view.rounds) {
    if (round.state == RoundState::kDone) loss.points.emplace_back(round.round, round.figures.loss);
  }
  for (const EvaluationView& evaluation : view.evaluations) {
    if (evaluation.done && evaluation.counted > 0) {
      perplexity.points.emplace_back(evaluation.round, std::exp(evaluation.loss));
    }
  }
  return PlotSvg(view.name, {loss, perplexity});
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunDirectory>> RunDirectory::Create(
    const std::filesystem::path& base, std::string_view name, int64_t unix_ms) {
  const std::string stem = UtcStamp(unix_ms) + "-" + std::string(name);
  for (int attempt = 1; attempt < 1000; ++attempt) {
    const auto path = base / (attempt == 1 ? stem : stem + "-" + std::to_string(attempt));
    std::error_code error;
    std::filesystem::create_directories(base, error);
    if (error) return FileError(base, "create", error.value());
    if (!std::filesystem::create_directory(path, error)) {
      if (error) return FileError(path, "create", error.value());
      continue;  // taken by a run of the same second
    }
    auto run = std::unique_ptr<RunDirectory>(new RunDirectory(path));
    run->metrics_ = std::fopen((path / "metrics.ndjson").c_str(), "ae");
    if (run->metrics_ == nullptr) return FileError(path / "metrics.ndjson", "create", errno);
    return run;
  }
  return Refuse(absl::StatusCode::kAlreadyExists,
                (base / stem).string() + ": 999 runs of this name in one second");
}

RunDirectory::~RunDirectory() {
  if (metrics_ != nullptr) std::fclose(metrics_);
}

absl::Status RunDirectory::Append(const JobEvent& event) {
  const std::string line = EventJson(event) + "\n";
  if (std::fwrite(line.data(), 1, line.size(), metrics_) != line.size() ||
      std::fflush(metrics_) != 0) {
    return FileError(path_ / "metrics.ndjson", "write", errno);
  }
  times_[{event.type, event.round}] = event.unix_ms;
  return absl::OkStatus();
}

double RunDirectory::TimeOf(const std::string& type, uint64_t round, double otherwise) const {
  const auto found = times_.find({type, round});
  return found == times_.end() ? otherwise : static_cast<double>(found->second) / 1e3;
}

absl::Status RunDirectory::Conclude(const JobView& view, bool tensorboard) {
  RV_RETURN_IF_ERROR(WriteFileAtomically(path_ / "summary.json", SummaryJson(view)));
  RV_RETURN_IF_ERROR(WriteFileAtomically(path_ / "plot.svg", Plot(view)));
  return tensorboard ? WriteTensorBoard(view) : absl::OkStatus();
}

absl::Status RunDirectory::WriteTensorBoard(const JobView& view) {
  const double wall = static_cast<double>(view.submitted_ms) / 1e3;
  RV_ASSIGN_OR_RETURN(EventWriter train, EventWriter::Create(path_ / "train", wall));
  for (const RoundView& round : view.rounds) {
    if (round.state != RoundState::kDone) continue;
    const double time = TimeOf("round.completed", round.round, wall);
    const int64_t step = static_cast<int64_t>(round.round);
    train.Add({time, step, "train/loss", static_cast<float>(round.figures.loss)});
    train.Add({time, step, "round/duration_seconds",
               static_cast<float>(round.figures.milliseconds / 1e3)});
    train.Add({time, step, "round/clients_selected", static_cast<float>(round.cohort.size())});
    train.Add({time, step, "round/clients_completed", static_cast<float>(round.reported.size())});
    if (round.figures.bias) {
      train.Add({time, step, "round/factor_bias", static_cast<float>(*round.figures.bias)});
    }
    train.Add({time, step, "comm/uplink_bytes", static_cast<float>(round.figures.bytes_up)});
    train.Add({time, step, "comm/downlink_bytes", static_cast<float>(round.figures.bytes_down)});
  }
  RV_RETURN_IF_ERROR(train.Flush());
  RV_ASSIGN_OR_RETURN(EventWriter eval, EventWriter::Create(path_ / "eval", wall));
  for (const EvaluationView& evaluation : view.evaluations) {
    if (!evaluation.done || evaluation.counted == 0) continue;
    const int64_t step = static_cast<int64_t>(evaluation.round);
    const double time = TimeOf("eval.completed", evaluation.round, wall);
    eval.Add({time, step, "eval/loss", static_cast<float>(evaluation.loss)});
    eval.Add({time, step, "eval/perplexity", static_cast<float>(std::exp(evaluation.loss))});
    eval.Add({time, step, "eval/accuracy", static_cast<float>(evaluation.accuracy)});
  }
  return eval.Flush();
}

absl::Status RunDirectory::LinkLatest() {
  const auto link = path_.parent_path() / "latest";
  const auto fresh = path_.parent_path() / (".latest-" + path_.filename().string());
  std::error_code error;
  std::filesystem::create_directory_symlink(path_.filename(), fresh, error);
  if (error) return FileError(fresh, "link", error.value());
  std::filesystem::rename(fresh, link, error);
  return error ? FileError(link, "rename", error.value()) : absl::OkStatus();
}

}  // namespace rivulet
