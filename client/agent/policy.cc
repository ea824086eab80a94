#include "client/agent/policy.h"

#include <fnmatch.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "client/agent/failure_report.h"
#include "common/io/file.h"
#include "common/job/validate_private.h"
#include "common/suggest.h"
#include "common/toml/toml_text.h"

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

template <typename Number>
absl::Status ReadWhole(const fs::path& file, const toml::table& table, std::string_view key,
                       int64_t least, int64_t most, Number& out) {
  const toml::node* node = table.get(key);
  if (node == nullptr) return absl::OkStatus();
  const std::optional<int64_t> value = node->value_exact<int64_t>();
  if (!value.has_value() || *value < least || *value > most) {
    return Bad(file,
               std::string(key) + ": want a whole number, " + std::to_string(least) + ".." +
                   std::to_string(most),
               node->source());
  }
  out = static_cast<Number>(*value);
  return absl::OkStatus();
}

absl::Status ReadCount(const fs::path& file, const toml::table& table, std::string_view key,
                       int& out) {
  return ReadWhole(file, table, key, 0, 1'000'000'000, out);
}

absl::Status ReadNumber(const fs::path& file, const toml::table& table, std::string_view key,
                        double most, double& out) {
  const toml::node* node = table.get(key);
  if (node == nullptr) return absl::OkStatus();
  const std::optional<double> value = node->is_number() ? node->value<double>() : std::nullopt;
  if (!value.has_value() || !(*value >= 0) || !(*value <= most)) {
    char limit[32];
    std::snprintf(limit, sizeof limit, "%g", most);
    return Bad(file, std::string(key) + ": want a number, 0.." + limit, node->source());
  }
  out = *value;
  return absl::OkStatus();
}

absl::Status ReadFlag(const fs::path& file, const toml::table& table, std::string_view key,
                      bool& out) {
  const toml::node* node = table.get(key);
  if (node == nullptr) return absl::OkStatus();
  const std::optional<bool> value = node->value_exact<bool>();
  if (!value.has_value()) {
    return Bad(file, std::string(key) + ": want true or false", node->source());
  }
  out = *value;
  return absl::OkStatus();
}

// The position of the text among `names`.
absl::Status ReadChoice(const fs::path& file, const toml::table& table, std::string_view key,
                        const std::vector<std::string>& names, uint8_t& out) {
  const toml::node* node = table.get(key);
  if (node == nullptr) return absl::OkStatus();
  const auto name = std::find(names.begin(), names.end(), node->value_or(std::string()));
  if (name == names.end()) {
    std::string wanted;
    for (const std::string& each : names) wanted += (wanted.empty() ? "" : ", ") + each;
    return Bad(file, std::string(key) + ": want one of " + wanted, node->source());
  }
  out = static_cast<uint8_t>(name - names.begin());
  return absl::OkStatus();
}

absl::Status ReadTexts(const fs::path& file, const toml::table& table, std::string_view key,
                       std::vector<std::string>& out) {
  const toml::node* node = table.get(key);
  if (node == nullptr) return absl::OkStatus();
  const toml::array* rows = node->as_array();
  if (rows == nullptr) {
    return Bad(file, std::string(key) + ": want a list of texts", node->source());
  }
  for (const toml::node& row : *rows) {
    const std::optional<std::string> text = row.value_exact<std::string>();
    if (!text.has_value() || text->empty()) {
      return Bad(file, std::string(key) + ": want a text", row.source());
    }
    out.push_back(*text);
  }
  return absl::OkStatus();
}

absl::Status ReadJobs(const fs::path& file, const toml::table& table, Policy& policy) {
  if (table.get("jobs") == nullptr) return absl::OkStatus();
  policy.jobs.emplace();
  return ReadTexts(file, table, "jobs", *policy.jobs);
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

// [secagg]; limits as the protocol has them.
absl::Status ReadMasking(const fs::path& file, const toml::table& table, Policy& policy) {
  RV_RETURN_IF_ERROR(CheckKeys(
      file, table,
      {"required", "mode-min", "n-min", "org-min", "orgs", "gamma-min", "ring", "h-min", "p-max",
       "b-max", "attempts-max", "dp-min", "session-directions", "denylist-file"}));
  secagg::ClientPolicy& masking = policy.masking;
  constexpr int64_t kMost = secagg::kMaxMembers;
  double gamma = masking.gamma_min_ppm / 1e6;
  RV_RETURN_IF_ERROR(ReadFlag(file, table, "required", policy.masks_required));
  RV_RETURN_IF_ERROR(ReadFlag(file, table, "session-directions", policy.session_directions));
  RV_RETURN_IF_ERROR(
      ReadChoice(file, table, "mode-min", {"semi-honest", "malicious"}, masking.mode_min));
  RV_RETURN_IF_ERROR(ReadWhole(file, table, "n-min", 3, kMost, masking.n_min));
  RV_RETURN_IF_ERROR(ReadWhole(file, table, "org-min", 1, kMost, masking.org_min));
  RV_RETURN_IF_ERROR(ReadTexts(file, table, "orgs", masking.orgs));
  RV_RETURN_IF_ERROR(ReadNumber(file, table, "gamma-min", 0.5, gamma));
  RV_RETURN_IF_ERROR(ReadFlag(file, table, "ring", masking.ring));
  RV_RETURN_IF_ERROR(ReadWhole(file, table, "h-min", 1, kMost, masking.h_min));
  RV_RETURN_IF_ERROR(ReadWhole(file, table, "p-max", 2, secagg::kMaxBits, masking.p_max));
  RV_RETURN_IF_ERROR(ReadWhole(file, table, "b-max", 8, secagg::kMaxBits, masking.b_max));
  RV_RETURN_IF_ERROR(
      ReadWhole(file, table, "attempts-max", 1, secagg::kMaxAttempts, masking.attempts_max));
  RV_RETURN_IF_ERROR(
      ReadChoice(file, table, "dp-min", {"none", "central", "distributed"}, masking.dp_min));
  masking.gamma_min_ppm = static_cast<uint32_t>(std::llround(gamma * 1e6));
  if (table.get("denylist-file") == nullptr) return absl::OkStatus();
  RV_ASSIGN_OR_RETURN(const std::string denylist, ReadText(file, table, "denylist-file"));
  policy.denylist = file.parent_path() / denylist;
  return absl::OkStatus();
}

absl::Status ReadPrivacy(const fs::path& file, const toml::table& table, Policy& policy) {
  RV_RETURN_IF_ERROR(
      CheckKeys(file, table, {"noise-multiplier-min", "max-releases", "max-releases-in-all"}));
  RV_RETURN_IF_ERROR(
      ReadNumber(file, table, "noise-multiplier-min", 1000, policy.noise_multiplier_min));
  RV_RETURN_IF_ERROR(ReadCount(file, table, "max-releases", policy.max_releases));
  return ReadCount(file, table, "max-releases-in-all", policy.max_releases_in_all);
}

absl::Status ReadSection(const fs::path& file, const toml::table& table, std::string_view key,
                         AddRow read, Policy& policy) {
  const toml::node* node = table.get(key);
  if (node == nullptr) return absl::OkStatus();
  if (!node->is_table()) {
    return Bad(file, std::string(key) + ": want [" + std::string(key) + "]", node->source());
  }
  return read(file, *node->as_table(), policy);
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
  RV_ASSIGN_OR_RETURN(const toml::table table, ParseToml(text, path.string()));
  Policy policy;
  RV_RETURN_IF_ERROR(CheckKeys(path, table,
                               {"jobs", "max-steps", "min-clients", "max-seq-length", "backprop",
                                "secagg", "privacy", "base-model", "dataset"}));
  RV_RETURN_IF_ERROR(ReadJobs(path, table, policy));
  RV_RETURN_IF_ERROR(ReadCount(path, table, "max-steps", policy.max_steps));
  RV_RETURN_IF_ERROR(ReadCount(path, table, "min-clients", policy.min_clients));
  RV_RETURN_IF_ERROR(ReadCount(path, table, "max-seq-length", policy.max_seq_length));
  RV_RETURN_IF_ERROR(ReadFlag(path, table, "backprop", policy.backprop));
  RV_RETURN_IF_ERROR(ReadSection(path, table, "secagg", ReadMasking, policy));
  RV_RETURN_IF_ERROR(ReadSection(path, table, "privacy", ReadPrivacy, policy));
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

std::vector<std::string> Policy::MaskingWeaknesses() const {
  constexpr uint32_t kOrganisations = 2;  // the protocol's own default
  std::vector<std::string> out;
  if (masking.org_min < kOrganisations) {
    out.push_back("policy: secagg.org-min: got " + std::to_string(masking.org_min) + ", advised " +
                  std::to_string(kOrganisations) +
                  " or more: all the others of a masked round may be of one organisation, the "
                  "coordinator's too");
  }
  if (denylist.empty()) {
    out.push_back(
        "policy: secagg.denylist-file: got none: a stolen certificate of another member is trusted "
        "in masked rounds until it expires");
  }
  return out;
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
  if (spec.robust.groups > 0 && FewestInSum(spec) < min_clients) {
    return RefusedTask("robust.groups: got sums of " + std::to_string(FewestInSum(spec)) +
                       " clients (secure-aggregation.min-survivors), allowed at least " +
                       std::to_string(min_clients));
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
  return CheckPrivacy(spec);
}

absl::Status Policy::CheckPrivacy(const JobSpec& spec) const {
  if (masks_required && !spec.secure_aggregation.enabled) {
    return RefusedTask("secure-aggregation.enabled: got false, allowed true alone");
  }
  if (session_directions && spec.scalars.enabled && spec.scalars.drawn_from != "session") {
    return RefusedTask("scalars.drawn-from: got \"" + spec.scalars.drawn_from +
                       "\", allowed \"session\" alone");
  }
  const PrivacySection& privacy = spec.privacy;
  const bool noised = privacy.mechanism != "none";
  if (noise_multiplier_min > 0 && (!noised || privacy.noise_multiplier < noise_multiplier_min)) {
    char text[96];  // 0: by the target, not known before the cohort
    std::snprintf(text, sizeof text, "privacy.noise-multiplier: got %g%s, allowed at least %g",
                  privacy.noise_multiplier, noised ? "" : " (no mechanism)", noise_multiplier_min);
    return RefusedTask(text);
  }
  if (max_releases > 0 && spec.job.num_rounds > max_releases) {
    return RefusedTask("job.num-rounds: got " + std::to_string(spec.job.num_rounds) +
                       ", allowed at most " + std::to_string(max_releases));
  }
  return absl::OkStatus();
}

}  // namespace rivulet
