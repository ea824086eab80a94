#include "client/runtime/example_ledger.h"

#include <spdlog/spdlog.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "client/agent/failure_report.h"
#include "common/formats/json.h"
#include "common/formats/json_fields.h"
#include "common/io/file.h"
#include "common/io/sha256.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMostBytes = uint64_t{64} << 20;
constexpr size_t kMostName = 4096;
constexpr int64_t kMostCount = int64_t{1} << 40;
constexpr std::string_view kPrefix = "examples-", kSuffix = ".json";

PrivacyEvent EventOf(const ExampleRelease& release) {
  const NoiseMultiplier<AddRemoveOne> z{release.noise_multiplier};
  if (release.sample_rate == 1) return GaussianEvent(z, release.steps);
  return PoissonGaussianEvent(release.sample_rate, z, release.steps);
}

json JsonOf(const ExampleRelease& release) {
  return {{"job", release.job},       {"round", release.round},        {"attempt", release.attempt},
          {"q", release.sample_rate}, {"z", release.noise_multiplier}, {"steps", release.steps}};
}

absl::StatusOr<ExampleRelease> ReleaseFrom(const json& row) {
  JsonFields fields(row, "release: ");
  ExampleRelease release;
  release.job = fields.RequiredText("job", kMostName);
  release.round = static_cast<uint64_t>(fields.RequiredInteger("round", 0, kMostCount));
  release.attempt = static_cast<uint32_t>(fields.RequiredInteger("attempt", 0, UINT32_MAX));
  release.sample_rate = fields.RequiredNumber("q", 0, 1);
  release.noise_multiplier = fields.RequiredNumber("z", 0, 1e300);
  release.steps = fields.RequiredInteger("steps", 1, kMostCount);
  RV_RETURN_IF_ERROR(fields.status());
  return release;
}

absl::Status Damaged(const fs::path& path, const absl::Status& why) {
  return WithExit(
      Refuse(absl::StatusCode::kDataLoss, path.string() + ": " + std::string(why.message())),
      ExitCode::kState);
}

std::string FileName(const std::string& data_set) {
  return std::string(kPrefix) + Sha256Hex(data_set).substr(0, 32) + std::string(kSuffix);
}

}  // namespace

ExampleLedger::ExampleLedger(fs::path directory) : directory_(std::move(directory)) { ReadAll(); }

void ExampleLedger::ReadAll() {
  std::error_code error;
  const auto read = [this](const fs::path& path) -> absl::Status {
    RV_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMostBytes));
    RV_ASSIGN_OR_RETURN(
        const json file,
        ParseJson(text, {.bytes = kMostBytes, .depth = 4, .values = size_t{1} << 24}));
    auto book = std::make_shared<Book>();
    if (!file.is_object() || !file.contains("releases") || !file["releases"].is_array() ||
        !file.contains("data_set") || !file["data_set"].is_string()) {
      return Refuse(absl::StatusCode::kInvalidArgument, "got no list of releases of a data set");
    }
    book->data_set = file["data_set"].get<std::string>();
    if (path.filename().string() != FileName(book->data_set)) {
      return Refuse(absl::StatusCode::kInvalidArgument, "the file of another data set");
    }
    for (const json& row : file["releases"]) {
      RV_ASSIGN_OR_RETURN(ExampleRelease release, ReleaseFrom(row));
      book->releases.push_back(std::move(release));
    }
    spdlog::info("data set '{}': {} trainings under example-level privacy are counted",
                 book->data_set, book->releases.size());
    books_[book->data_set] = std::move(book);
    return absl::OkStatus();
  };
  for (fs::directory_iterator at(directory_, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
    const absl::Status done = read(at->path());
    if (done.ok()) continue;
    damaged_ = Damaged(at->path(), done);
    spdlog::error("{}", std::string(damaged_.message()));
  }
  if (error) damaged_ = FileError(directory_, "read", error.value());
}

std::shared_ptr<ExampleLedger::Book> ExampleLedger::BookOf(const std::string& owner,
                                                           const std::string& data_set) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Book>& book = books_[directory_.empty() ? owner + "\n" + data_set : data_set];
  if (book == nullptr) {
    book = std::make_shared<Book>();
    book->data_set = data_set;
  }
  return book;
}

absl::Status ExampleLedger::Write(const Book& book) const {
  if (directory_.empty()) return absl::OkStatus();
  json rows = json::array();
  for (const ExampleRelease& release : book.releases) rows.push_back(JsonOf(release));
  const json file = {{"data_set", book.data_set}, {"releases", std::move(rows)}};
  const std::string text = file.dump(-1, ' ', false, json::error_handler_t::replace);
  return OfTheDisk(WriteFileAtomically(directory_ / FileName(book.data_set), text, 0600));
}

absl::StatusOr<Epsilon> ExampleLedger::Charge(const std::string& owner, const std::string& data_set,
                                              const ExampleRelease& release, const Limit& limit) {
  RV_RETURN_IF_ERROR(damaged_);
  const std::shared_ptr<Book> book = BookOf(owner, data_set);
  const std::lock_guard lock(book->mutex);
  Accountant accountant(PrivacyUnit::kExample);
  for (const ExampleRelease& one : book->releases) {
    RV_RETURN_IF_ERROR(accountant.Compose(EventOf(one)));
  }
  RV_RETURN_IF_ERROR(accountant.Compose(EventOf(release)));
  RV_ASSIGN_OR_RETURN(const Epsilon spent, accountant.EpsilonAt(limit.delta));
  if (!(spent.pld <= limit.epsilon * (1 + 1e-9))) {
    const absl::Status passed =
        Refuse(absl::StatusCode::kResourceExhausted,
               "privacy.target-epsilon: got " + FormatEpsilon(spent.pld) + " for data set '" +
                   data_set + "' after round " + std::to_string(release.round) + ", want at most " +
                   FormatEpsilon(limit.epsilon));
    return WithReport(WithExit(passed, ExitCode::kBudget), "refused_policy",
                      "data set '" + data_set + "': its privacy budget is spent");
  }
  book->releases.push_back(release);
  const absl::Status written = Write(*book);
  if (written.ok()) return spent;
  book->releases.pop_back();
  return written;
}

}  // namespace rivulet
