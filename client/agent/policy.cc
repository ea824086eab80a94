#include "client/agent/policy.h"

#include <fnmatch.h>
#include <toml++/toml.h>

#include <algorithm>

#include "client/agent/failure_report.h"
#include "common/io/file.h"
#include "common/suggest.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kMaxPolicy = 1 << 20;

absl::Status Bad(const fs::path& file, std::string_view what, const toml::source_region& where) {
  return WithExit(
      Refuse(absl::StatusCode::kInvalidArgument,
             file.string() + ":" + std::to_string(where.begin.line) + ": " + std::string(what)),
      ExitCode::kConfig);
}

absl::Status Refused(const std::string& what) {
  return WithExit(Refuse(absl::StatusCode::kFailedPrecondition, "policy: " + what),
                  ExitCode::kPolicy);
}

// Of a job: the sentence names its keys and this policy's limits, nothing else of this machine.
absl::Status RefusedTask(const std::string& what) {
  return WithReport(Refused(what), "refused_policy", "policy: " + what);
}

absl::Status CheckKeys(const fs::path& file, const toml::table& table,
                       const std::vector<std::string>& known) {
  for (const auto& [key, value] : table) {
    const std::string name(key.str());
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return Bad(file, "unknown key '" + name + "'" + DidYouMean(name, known), key.source());
  }
  return absl::OkStatus();
}

absl::Status ReadCount(const fs::path& file, const toml::table& table, std::string_view key,
                       int& out) {
  const toml::node* node = table.get(key);
  if (node == nullptr) return absl::OkStatus();
  const std::optional<int64_t> value = node->value_exact<int64_t>();
  if (!value.has_value() || *value < 0 || *value > 1'000'000'000) {
    return Bad(file, std::string(key) + ": want a whole number, 0..1000000000", node->source());
  }
  out = static_cast<int>(*value);
  return absl::OkStatus();
}

absl::Status ReadJobs(const fs::path& file, const toml::table& table, Policy& policy) {
  const toml::node* node = table.get("jobs");
  if (node == nullptr) return absl::OkStatus();
  const toml::array* rows = node->as_array();
  if (rows == nullptr) return Bad(file, "jobs: want a list of texts", node->source());
  policy.jobs.emplace();
  for (const toml::node& row : *rows) {
    const std::optional<std::string> glob = row.value_exact<std::string>();
    if (!glob.has_value() || glob->empty()) return Bad(file, "jobs: want a text", row.source());
    policy.jobs->push_back(*glob);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadText(const fs::path& file, const toml::table& table,
                                     std::string_view key) {
  const std::optional<std::string> value = table[key].value_exact<std::string>();
  if (!value.has_value() || value->empty()) {
    return Bad(file, std::string(key) + ": want a text", table.source());
  }
  return *value;
}

absl::Status AddBaseModel(const fs::path& file, const toml::table& table, Policy& policy) {
  RV_RETURN_IF_ERROR(CheckKeys(file, table, {"path", "hash"}));
  RV_ASSIGN_OR_RETURN(const std::string text, ReadText(file, table, "path"));
  const fs::path folder = file.parent_path() / text;
  BaseModelFolder hashed;
  absl::StatusOr<std::string> hash = HashBaseModel(folder, hashed);
  if (!hash.ok()) return WithExit(Annotate(hash.status(), "base-model"), ExitCode::kConfig);
  if (const toml::node* given = table.get("hash"); given != nullptr) {
    if (given->value_or(std::string()) != *hash) {
      return Refused("base model " + folder.string() + ": got " + *hash + ", want " +
                     given->value_or(std::string("a text")));
    }
  }
  policy.base_models[*hash] = std::move(hashed);
  return absl::OkStatus();
}

absl::Status AddDataset(const fs::path& file, const toml::table& table, Policy& policy) {
  RV_RETURN_IF_ERROR(CheckKeys(file, table, {"name", "path"}));
  RV_ASSIGN_OR_RETURN(const std::string name, ReadText(file, table, "name"));
  RV_ASSIGN_OR_RETURN(const std::string path, ReadText(file, table, "path"));
  policy.datasets[name] = file.parent_path() / path;
  return absl::OkStatus();
}

using AddRow = absl::Status (*)(const fs::path&, const toml::table&, Policy&);
absl::Status ReadRows(const fs::path& file, const toml::table& table, std::string_view key,
                      AddRow add, Policy& policy) {
  const toml::node* node = table.get(key);
  if (node == nullptr) return absl::OkStatus();
  const toml::array* rows = node->as_array();
  if (rows == nullptr) {
    return Bad(file, std::string(key) + ": want [[" + std::string(key) + "]]", node->source());
  }
  for (const toml::node& row : *rows) {
    if (!row.is_table()) return Bad(file, std::string(key) + ": want a table", row.source());
    RV_RETURN_IF_ERROR(add(file, *row.as_table(), policy));
  }
  return absl::OkStatus();
}

absl::StatusOr<toml::table> ParseToml(std::string_view text, const fs::path& path) {
  try {  // toml++ as Debian builds it throws; caught here and nowhere else
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    return Bad(path, error.description(), error.source());
  }
}

bool Matches(const std::vector<std::string>& globs, const std::string& name) {
  return std::any_of(globs.begin(), globs.end(), [&name](const std::string& glob) {
    return fnmatch(glob.c_str(), name.c_str(), 0) == 0;
  });
}

// "'a' or 'b-*'"
std::string OneOf(const std::vector<std::string>& globs) {
  std::string text;
  for (const std::string& glob : globs) text += (text.empty() ? "'" : " or '") + glob + "'";
  return text.empty() ? "none" : text;
}

}  // namespace

absl::StatusOr<Policy> LoadPolicy(const fs::path& path) {
  absl::StatusOr<std::string> text = ReadFile(path, kMaxPolicy);
  if (!text.ok()) return WithExit(text.status(), ExitCode::kConfig);
  return ParsePolicy(*text, path);
}

absl::StatusOr<Policy> ParsePolicy(std::string_view text, const fs::path& path) {
  RV_ASSIGN_OR_RETURN(const toml::table table, ParseToml(text, path));
  Policy policy;
  RV_RETURN_IF_ERROR(
      CheckKeys(path, table,
                {"jobs", "max-steps", "min-clients", "max-seq-length", "base-model", "dataset"}));
  RV_RETURN_IF_ERROR(ReadJobs(path, table, policy));
  RV_RETURN_IF_ERROR(ReadCount(path, table, "max-steps", policy.max_steps));
  RV_RETURN_IF_ERROR(ReadCount(path, table, "min-clients", policy.min_clients));
  RV_RETURN_IF_ERROR(ReadCount(path, table, "max-seq-length", policy.max_seq_length));
  RV_RETURN_IF_ERROR(ReadRows(path, table, "base-model", AddBaseModel, policy));
  RV_RETURN_IF_ERROR(ReadRows(path, table, "dataset", AddDataset, policy));
  return policy;
}

std::vector<std::string> Policy::BaseModelHashes() const {
  std::vector<std::string> names;
  for (const auto& [hash, path] : base_models) names.push_back(hash);
  return names;
}

std::vector<std::string> Policy::DatasetNames() const {
  std::vector<std::string> names;
  for (const auto& [name, path] : datasets) names.push_back(name);
  return names;
}

absl::Status Policy::Check(const JobDocument& document) const {
  const JobSpec& spec = document.spec;
  if (jobs.has_value() && !Matches(*jobs, spec.job.name)) {
    return RefusedTask("job.name: got '" + spec.job.name + "', allowed " + OneOf(*jobs));
  }
  if (!base_models.contains(document.base_hash)) {
    return RefusedTask("base model " + document.base_hash + " is not allowed here");
  }
  if (!datasets.contains(spec.data.dataset)) {
    return RefusedTask("data.dataset: got '" + spec.data.dataset + "', not offered here");
  }
  if (spec.job.min_clients < min_clients) {
    return RefusedTask("job.min-clients: got " + std::to_string(spec.job.min_clients) +
                       ", allowed at least " + std::to_string(min_clients));
  }
  if (max_steps > 0 && (spec.train.max_steps == 0 || spec.train.max_steps > max_steps)) {
    return RefusedTask("train.max-steps: got " + std::to_string(spec.train.max_steps) +
                       (spec.train.max_steps == 0 ? " (by epochs)" : "") + ", allowed 1.." +
                       std::to_string(max_steps));
  }
  if (max_seq_length > 0 && spec.data.seq_length > max_seq_length) {
    return RefusedTask("data.seq-length: got " + std::to_string(spec.data.seq_length) +
                       ", allowed at most " + std::to_string(max_seq_length));
  }
  return absl::OkStatus();
}

}  // namespace rivulet
