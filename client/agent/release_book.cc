#include "client/agent/release_book.h"

#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "client/agent/failure_report.h"
#include "common/io/file.h"
#include "common/io/sha256.h"
#include "common/job/job_document.h"

namespace rivulet {
namespace {

using nlohmann::json;
constexpr uint64_t kMostBytes = uint64_t{64} << 20;
constexpr size_t kLongestJob = 256;  // or a coordinator could fill the file with names

absl::Status Damaged(const std::filesystem::path& path, const std::string& why) {
  return WithExit(Refuse(absl::StatusCode::kDataLoss, path.string() + ": " + why),
                  ExitCode::kState);
}

}  // namespace

ReleaseBook::ReleaseBook(std::filesystem::path directory, int most)
    : path_(std::move(directory) / "releases.json"), most_(most) {
  damaged_ = Read();
  if (!damaged_.ok()) {
    spdlog::error("{}", std::string(damaged_.message()));
    return;
  }
  for (const auto& [data_set, jobs] : data_sets_) {
    spdlog::info("data set '{}': {} of {} releases are given out", data_set, TotalLocked(data_set),
                 most_);
  }
}

absl::Status ReleaseBook::Read() {
  const absl::StatusOr<std::string> text = ReadFile(path_, kMostBytes);
  if (text.status().code() == absl::StatusCode::kNotFound) return absl::OkStatus();
  RV_RETURN_IF_ERROR(text.status());
  try {  // our own file; whatever is wrong with it means that it is damaged
    const json file = json::parse(*text);
    for (const auto& [data_set, jobs] : file.at("data_sets").items()) {
      for (const auto& [job, row] : jobs.items()) {
        Of& of = data_sets_[data_set][job];
        of.releases = row.at("releases").get<int>();
        of.last = row.at("last").get<std::string>();
        if (of.releases >= 1) continue;
        return Damaged(path_, "job " + job + ": got " + std::to_string(of.releases) +
                                  " releases, want at least 1");
      }
    }
  } catch (const json::exception& error) {
    return Damaged(path_, error.what());
  }
  return absl::OkStatus();
}

absl::StatusOr<ReleaseBook::Release> ReleaseBook::ReleaseOf(const Assignment& task) {
  RV_ASSIGN_OR_RETURN(const JobDocument document, ParseJobDocument(task.job_document));
  if (task.key.job.size() > kLongestJob) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "job: got a name of " + std::to_string(task.key.job.size()) +
                      " bytes, want at most " + std::to_string(kLongestJob));
  }
  const std::string of = std::to_string(task.key.round) + "\n" + std::to_string(task.key.attempt) +
                         "\n" + task.state_sha256 + "\n" + Sha256Hex(task.job_document);
  return Release{document.spec.data.dataset, task.key.job, Sha256Hex(of)};
}

bool ReleaseBook::IsCountedLocked(const Release& release) const {
  const auto jobs = data_sets_.find(release.data_set);
  if (jobs == data_sets_.end()) return false;
  const auto job = jobs->second.find(release.job);
  return job != jobs->second.end() && job->second.last == release.id;
}

int64_t ReleaseBook::TotalLocked(const std::string& data_set) const {
  int64_t total = 0;
  const auto jobs = data_sets_.find(data_set);
  if (jobs == data_sets_.end()) return total;
  for (const auto& [job, of] : jobs->second) total += of.releases;
  return total;
}

absl::Status ReleaseBook::CheckLocked(const Release& release) const {
  if (!damaged_.ok()) {
    return WithReport(damaged_, "failed", "policy: the count of releases given out is damaged");
  }
  const int64_t next = TotalLocked(release.data_set) + 1;
  if (IsCountedLocked(release) || next <= most_) return absl::OkStatus();
  const std::string text = "policy: privacy.max-releases-in-all: got release " +
                           std::to_string(next) + " of data set '" + release.data_set +
                           "', allowed at most " + std::to_string(most_);
  return WithReport(
      WithExit(Refuse(absl::StatusCode::kFailedPrecondition, text), ExitCode::kPolicy),
      "refused_policy", text);
}

absl::Status ReleaseBook::Check(const Assignment& task) {
  if (task.kind != Assignment::Kind::kTrain) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(const Release release, ReleaseOf(task));
  const std::lock_guard lock(mutex_);
  return CheckLocked(release);
}

absl::Status ReleaseBook::Count(const Assignment& task) {
  if (task.kind != Assignment::Kind::kTrain) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(const Release release, ReleaseOf(task));
  const std::lock_guard lock(mutex_);
  RV_RETURN_IF_ERROR(CheckLocked(release));
  if (IsCountedLocked(release)) return absl::OkStatus();
  Jobs& jobs = data_sets_[release.data_set];
  const Of before = jobs[release.job];
  jobs[release.job] = {before.releases + 1, release.id};
  const absl::Status written = WriteLocked();
  if (!written.ok()) jobs[release.job] = before;
  return written;
}

absl::Status ReleaseBook::WriteLocked() const {
  json file = {{"data_sets", json::object()}};
  for (const auto& [data_set, jobs] : data_sets_) {
    for (const auto& [job, of] : jobs) {
      if (of.releases == 0) continue;  // what could not be written
      file["data_sets"][data_set][job] = {{"releases", of.releases}, {"last", of.last}};
    }
  }
  const std::string text = file.dump(-1, ' ', false, json::error_handler_t::replace);
  return OfTheDisk(WriteFileAtomically(path_, text, 0600));
}

}  // namespace rivulet
