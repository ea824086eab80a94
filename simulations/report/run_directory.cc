#include "simulations/report/run_directory.h"

#include <cerrno>
#include <cmath>
#include <ctime>

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
    const std::filesystem::path& base, std::string_view name, int64_t unix_ms, bool tensorboard) {
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
    if (tensorboard) {
      const double wall = static_cast<double>(unix_ms) / 1e3;
      RV_ASSIGN_OR_RETURN(run->train_, EventWriter::Create(path / "train", wall));
      RV_ASSIGN_OR_RETURN(run->eval_, EventWriter::Create(path / "eval", wall));
    }
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
  return train_.has_value() ? AddToTensorBoard(event) : absl::OkStatus();
}

absl::Status RunDirectory::AddToTensorBoard(const JobEvent& event) {
  if (event.type == "round.started") selected_ = static_cast<int64_t>(event.Number("clients"));
  const auto add = [&event](EventWriter& stream, const char* tag, double value) {
    stream.Add({static_cast<double>(event.unix_ms) / 1e3, static_cast<int64_t>(event.round), tag,
                static_cast<float>(value)});
  };
  if (event.type == "round.completed") {
    const auto add_if_there = [&](const char* tag, std::string_view key) {
      if (const double value = event.Number(key, NAN); !std::isnan(value)) add(*train_, tag, value);
    };
    add(*train_, "train/loss", event.Number("loss"));
    add_if_there("train/grad_norm", "grad_norm");
    add_if_there("train/learning_rate", "learning_rate");
    add(*train_, "round/duration_seconds", event.Number("milliseconds") / 1e3);
    add(*train_, "round/clients_selected", static_cast<double>(selected_));
    add(*train_, "round/clients_completed", event.Number("clients"));
    add_if_there("round/factor_bias", "bias");
    add(*train_, "comm/uplink_bytes", event.Number("bytes_up"));
    add_if_there("comm/uplink_raw_bytes", "raw_bytes_up");
    add(*train_, "comm/downlink_bytes", event.Number("bytes_down"));
    return train_->Flush();
  }
  if (event.type != "eval.completed" || event.Number("counted") == 0) return absl::OkStatus();
  add(*eval_, "eval/loss", event.Number("loss"));
  add(*eval_, "eval/perplexity", std::exp(event.Number("loss")));
  add(*eval_, "eval/accuracy", event.Number("accuracy"));
  return eval_->Flush();
}

absl::Status RunDirectory::Conclude(const JobView& view) {
  RV_RETURN_IF_ERROR(WriteFileAtomically(path_ / "summary.json", SummaryJson(view)));
  return WriteFileAtomically(path_ / "plot.svg", Plot(view));
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
