#include "client/agent/agent_store.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>

#include "common/io/file.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxTaskFile = 64 << 10;
constexpr std::chrono::hours kForgetStartAfter{30 * 24};
constexpr std::string_view kTaskPrefix = "task-";
constexpr std::string_view kUpdatePrefix = "update-";
constexpr std::string_view kStatePrefix = "state-";

struct TaskFile {
  TaskKey key;
  int starts = 0;
  std::optional<Outcome> outcome;
};

json ToJson(const Outcome& outcome) {
  return {{"kind", static_cast<int>(outcome.kind)},
          {"sha256", outcome.sha256},
          {"bytes", outcome.bytes},
          {"examples", outcome.examples},
          {"tokens", outcome.tokens},
          {"steps", outcome.steps},
          {"loss", outcome.loss},
          {"grad_norm", outcome.grad_norm},
          {"loss_fixed", outcome.loss_fixed},
          {"counted", outcome.counted},
          {"correct", outcome.correct},
          {"code", outcome.code},
          {"text", outcome.text}};
}

Outcome OutcomeOf(const TaskKey& key, const json& row) {
  Outcome outcome;
  outcome.kind = static_cast<Outcome::Kind>(row.at("kind").get<int>());
  outcome.key = key;
  outcome.sha256 = row.at("sha256").get<std::string>();
  outcome.bytes = row.at("bytes").get<uint64_t>();
  outcome.examples = row.at("examples").get<int64_t>();
  outcome.tokens = row.at("tokens").get<int64_t>();
  outcome.steps = row.at("steps").get<int64_t>();
  outcome.loss = row.at("loss").is_number() ? row.at("loss").get<double>() : 0;
  outcome.grad_norm = row.at("grad_norm").is_number() ? row.at("grad_norm").get<double>() : 0;
  outcome.loss_fixed = row.at("loss_fixed").get<int64_t>();
  outcome.counted = row.at("counted").get<int64_t>();
  outcome.correct = row.at("correct").get<int64_t>();
  outcome.code = row.at("code").get<std::string>();
  outcome.text = row.at("text").get<std::string>();
  return outcome;
}

std::string TextOf(const TaskFile& task) {
  json row = {{"job", task.key.job},
              {"round", task.key.round},
              {"attempt", task.key.attempt},
              {"starts", task.starts}};
  if (task.outcome.has_value()) row["outcome"] = ToJson(*task.outcome);
  return row.dump(-1, ' ', false, json::error_handler_t::replace);
}

absl::StatusOr<TaskFile> ReadTask(const fs::path& path) {
  RV_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxTaskFile));
  try {  // our own file; whatever is wrong with it means that it is damaged
    const json row = json::parse(text);
    TaskFile task{{row.at("job").get<std::string>(), row.at("round").get<uint64_t>(),
                   row.at("attempt").get<uint32_t>()},
                  row.at("starts").get<int>()};
    if (row.contains("outcome")) task.outcome = OutcomeOf(task.key, row["outcome"]);
    return task;
  } catch (const json::exception& error) {
    return Refuse(absl::StatusCode::kDataLoss, path.string() + ": " + error.what());
  }
}

bool IsForgotten(const fs::path& path) {
  std::error_code error;
  const fs::file_time_type written = fs::last_write_time(path, error);
  return !error && fs::file_time_type::clock::now() - written > kForgetStartAfter;
}

std::string HashOf(const TaskKey& key) { return Sha256Hex(rivulet::TextOf(key)).substr(0, 32); }

}  // namespace

AgentStore::AgentStore(fs::path directory, int lock)
    : directory_(std::move(directory)), lock_(lock) {}

AgentStore::~AgentStore() { close(lock_); }

absl::StatusOr<std::unique_ptr<AgentStore>> AgentStore::Open(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return FileError(directory, "create", error.value());
  if (chmod(directory.c_str(), 0700) != 0) return FileError(directory, "chmod", errno);
  const fs::path path = directory / "lock";
  const int lock = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (lock < 0) return FileError(path, "open", errno);
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    close(lock);
    return WithExit(Refuse(absl::StatusCode::kFailedPrecondition,
                           directory.string() + ": another agent runs on this state directory"),
                    ExitCode::kState);
  }
  return std::unique_ptr<AgentStore>(new AgentStore(directory, lock));
}

absl::StatusOr<SessionMemory> AgentStore::Load() {
  SessionMemory memory;
  if (const auto text = ReadFile(directory_ / "epoch", 32); text.ok()) {
    std::from_chars(text->data(), text->data() + text->size(), memory.epoch);
  }
  std::set<fs::path> orphans;  // until a task names them
  std::vector<TaskFile> tasks;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_, error)) {
    const std::string name = entry.path().filename().string();
    const bool temporary = name.starts_with("epoch.");
    if (temporary || name.starts_with(kUpdatePrefix)) orphans.insert(entry.path());
    if (!name.starts_with(kTaskPrefix)) continue;
    absl::StatusOr<TaskFile> task = ReadTask(entry.path());
    if (!task.ok()) spdlog::warn("{}; removed", std::string(task.status().message()));
    if (task.ok() && entry.path() == TaskPath(task->key)) {
      tasks.push_back(*std::move(task));
    } else {
      orphans.insert(entry.path());
    }
  }
  if (error) return FileError(directory_, "list", error.value());
  for (const TaskFile& task : tasks) {
    if (!task.outcome.has_value()) {
      const fs::path path = TaskPath(task.key);
      if (IsForgotten(path)) {
        orphans.insert(path);
      } else {
        memory.starts[task.key] = task.starts;
      }
      continue;
    }
    memory.outcomes.push_back(*task.outcome);
    if (task.outcome->kind == Outcome::Kind::kTrained) orphans.erase(UpdatePath(task.key));
  }
  for (const fs::path& orphan : orphans) fs::remove(orphan, error);
  return memory;
}

absl::Status AgentStore::PutEpoch(uint64_t epoch) {
  return WriteFileAtomically(directory_ / "epoch", std::to_string(epoch), 0600);
}

absl::Status AgentStore::PutStart(const TaskKey& key) {
  TaskFile task{key, 0, std::nullopt};
  if (absl::StatusOr<TaskFile> old = ReadTask(TaskPath(key)); old.ok()) task = *std::move(old);
  ++task.starts;
  return WriteFileAtomically(TaskPath(key), TextOf(task), 0600);
}

absl::Status AgentStore::TakeBackStart(const TaskKey& key) {
  absl::StatusOr<TaskFile> task = ReadTask(TaskPath(key));
  if (!task.ok() || --task->starts <= 0) return Forget(key);
  return WriteFileAtomically(TaskPath(key), TextOf(*task), 0600);
}

absl::Status AgentStore::PutOutcome(const Outcome& outcome) {
  return WriteFileAtomically(TaskPath(outcome.key), TextOf(TaskFile{outcome.key, 0, outcome}),
                             0600);
}

absl::Status AgentStore::Forget(const TaskKey& key) {
  for (const fs::path& path : {TaskPath(key), UpdatePath(key)}) {
    std::error_code error;
    fs::remove(path, error);
    if (error) return FileError(path, "remove", error.value());
  }
  return absl::OkStatus();
}

fs::path AgentStore::UpdatePath(const TaskKey& key) const {
  return directory_ / (std::string(kUpdatePrefix) + HashOf(key));
}

fs::path AgentStore::StatePath(const std::string& sha256) const {
  return directory_ / (std::string(kStatePrefix) + sha256);
}

void AgentStore::KeepOnlyState(const std::string& sha256) {
  std::error_code error;
  const std::string keep = std::string(kStatePrefix) + sha256;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kStatePrefix) && name != keep) fs::remove(entry.path(), error);
  }
}

fs::path AgentStore::TaskPath(const TaskKey& key) const {
  return directory_ / (std::string(kTaskPrefix) + HashOf(key) + ".json");
}

}  // namespace rivulet
