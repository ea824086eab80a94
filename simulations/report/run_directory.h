#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/formats/tensorboard.h"
#include "common/status.h"
#include "coordinator/rounds/job_view.h"

namespace rivulet {

// runs/<time>-<name>/: everything one run leaves behind, and the link runs/latest to it.
//   metrics.ndjson  one event a line, as `--format json` prints them
//   train/, eval/   TensorBoard event files, written as rounds and evaluations end
//   plot.svg        training loss and held-out perplexity by round
//   summary.json    the figures of the closing table
// Not thread safe.
class RunDirectory {
 public:
  // Creates `base`/<UTC time>-<name>, with a suffix when that exists. `tensorboard` false leaves
  // train/ and eval/ out. Errors: as WriteFileAtomically.
  static absl::StatusOr<std::unique_ptr<RunDirectory>> Create(const std::filesystem::path& base,
                                                              std::string_view name,
                                                              int64_t unix_ms, bool tensorboard);
  ~RunDirectory();

  const std::filesystem::path& path() const { return path_; }
  // On disk when it returns, so that a run can be watched and a dead one leaves what it had.
  absl::Status Append(const JobEvent& event);
  // Everything that is known once the job has ended.
  absl::Status Conclude(const JobView& view);
  // Points base/latest here. Last, so that it never names an unfinished run.
  absl::Status LinkLatest();

 private:
  explicit RunDirectory(std::filesystem::path path) : path_(std::move(path)) {}
  absl::Status AddToTensorBoard(const JobEvent& event);

  std::filesystem::path path_;
  std::FILE* metrics_ = nullptr;
  std::optional<EventWriter> train_, eval_;
  int64_t selected_ = 0;  // clients of the round begun last
};

// {"api":"rivulet/v1","kind":"Event","type":...}: one line without its newline. NaN and infinity
// become null.
std::string EventJson(const JobEvent& event);
// The document of summary.json, indented.
std::string SummaryJson(const JobView& view);
// The closing table: held-out perplexity before and after, in all and per client, survivors, bytes,
// epsilon and time.
// `per_client` false leaves the clients out.
std::string SummaryTable(const JobView& view, bool per_client);

}  // namespace rivulet
