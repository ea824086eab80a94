#include "common/job/job_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "common/formats/json.h"
#include "common/io/file.h"
#include "common/job/bad_job.h"
#include "common/job/job_keys.h"
#include "common/job/key_tables.h"
#include "common/suggest.h"
#include "common/toml/toml_text.h"

extern char** environ;

namespace rivulet {
namespace {

constexpr uint64_t kMaxFileBytes = 1 << 20;
constexpr std::string_view kReserved[] = {"RIVULET_CONFIG", "RIVULET_CONTEXT", "RIVULET_LOG",
                                          "RIVULET_NO_PROGRESS", "RIVULET_SHARED"};

// Stores a TOML node into the value a key refers to; false when the type does not fit.
struct Assign {
  const toml::node& node;

  template <typename T>
  bool Integer(T* out) const {
    const auto* value = node.as_integer();
    if (value == nullptr || !std::in_range<T>(value->get())) return false;
    *out = static_cast<T>(value->get());
    return true;
  }
  bool operator()(int* out) const { return Integer(out); }
  bool operator()(int64_t* out) const { return Integer(out); }
  bool operator()(uint64_t* out) const { return Integer(out); }
  bool operator()(double* out) const {
    if (!node.is_number()) return false;
    *out = *node.value<double>();
    return true;
  }
  bool operator()(bool* out) const {
    const auto* value = node.as_boolean();
    if (value != nullptr) *out = value->get();
    return value != nullptr;
  }
  bool operator()(std::string* out) const {
    const auto* value = node.as_string();
    if (value != nullptr) *out = value->get();
    return value != nullptr;
  }
  bool operator()(std::chrono::seconds* out) const {
    const auto* value = node.as_string();
    if (value == nullptr) return false;
    const auto duration = ParseDuration(value->get());
    if (duration.ok()) *out = *duration;
    return duration.ok();
  }
  template <typename T>
  bool operator()(std::vector<T>* out) const {
    if (T value; std::is_same_v<T, std::string> && Assign{node}(&value)) {  // "all-linear"
      *out = {std::move(value)};
      return true;
    }
    const toml::array* items = node.as_array();
    if (items == nullptr) return false;
    std::vector<T> values;
    for (const toml::node& item : *items) {
      T value;
      if (!Assign{item}(&value)) return false;
      values.push_back(std::move(value));
    }
    *out = std::move(values);
    return true;
  }
};

std::string TextOf(const toml::node& node) {
  std::ostringstream out;
  node.visit([&out](const auto& value) { out << value; });
  return Shortened(out.str());
}

// "; did you mean 'train.learning-rate'?": the nearest path, or else the nearest key in whatever
// section it is.
std::string Suggestion(const std::string& path) {
  if (const std::string near = DidYouMean(path, JobKeyPaths()); !near.empty()) return near;
  const auto leaf_of = [](std::string_view full) { return full.substr(full.find('.') + 1); };
  const std::string_view leaf = leaf_of(path);
  std::vector<std::string> leaves;
  for (const JobKey& key : JobKeys()) leaves.emplace_back(leaf_of(key.path));
  const std::string near = Nearest(leaf, leaves, leaf.size() < 5 ? 0 : 2);
  const auto found = std::find(leaves.begin(), leaves.end(), near);
  if (near.empty()) return "";
  return "; did you mean '" + std::string(JobKeys()[found - leaves.begin()].path) + "'?";
}

std::string VariableOf(std::string_view path) {
  std::string name = "RIVULET_";
  for (const char c : path) {
    name += c == '.' ? "__" : c == '-' ? "_" : std::string(1, static_cast<char>(std::toupper(c)));
  }
  return name;
}

std::string PathOf(std::string_view variable) {
  std::string path(variable.substr(8));
  if (const size_t dot = path.find("__"); dot != std::string::npos) path.replace(dot, 2, ".");
  std::transform(path.begin(), path.end(), path.begin(),
                 [](unsigned char c) { return c == '_' ? '-' : std::tolower(c); });
  return path;
}

// Collects values into a LoadedJob, layer by layer.
class Loader {
 public:
  absl::Status File(std::string_view toml, std::string_view name);
  absl::Status Variables(const Environment& environment);
  absl::Status Sets(const std::vector<std::string>& sets);
  absl::StatusOr<LoadedJob> Finish();

 private:
  absl::Status Section(const toml::key& section, const toml::node& node, const std::string& file);
  absl::Status FileKey(const std::string& section, const toml::key& key, const toml::node& value,
                       const std::string& file);
  absl::Status StoreText(const std::string& path, const std::string& text, const KeyOrigin& origin);
  absl::Status Store(const std::string& path, const toml::node& node, const KeyOrigin& origin);
  void NoteMethod(std::string_view path);
  void ResolveDefaults();

  LoadedJob job_;
  std::set<std::string> methods_;
};

absl::Status Loader::File(std::string_view toml, std::string_view name) {
  RV_ASSIGN_OR_RETURN(const toml::table root, ParseToml(toml, name));
  for (const auto& [key, node] : root) RV_RETURN_IF_ERROR(Section(key, node, std::string(name)));
  return absl::OkStatus();
}

absl::Status Loader::Section(const toml::key& key, const toml::node& node,
                             const std::string& file) {
  const std::string section(key.str());
  std::vector<std::string> known;
  for (const JobKey& row : JobKeys()) {
    const std::string name(row.path.substr(0, row.path.find('.')));
    if (known.empty() || known.back() != name) known.push_back(name);
  }
  const std::string place = PlaceText(file, key.source());
  const bool exists = std::find(known.begin(), known.end(), section) != known.end();
  const toml::table* table = node.as_table();
  if (table == nullptr && exists) {
    return BadJob(place + section + ": got " + TextOf(node) + ", want a section [" + section + "]");
  }
  if (table == nullptr)
    return BadJob(place + "unknown key '" + section + "'" + Suggestion(section));
  if (!exists)
    return BadJob(place + "unknown section '" + section + "'" + DidYouMean(section, known));
  NoteMethod(section + ".");
  for (const auto& [name, value] : *table) RV_RETURN_IF_ERROR(FileKey(section, name, value, file));
  return absl::OkStatus();
}

absl::Status Loader::FileKey(const std::string& section, const toml::key& key,
                             const toml::node& value, const std::string& file) {
  const std::string path = section + "." + std::string(key.str());
  const JobKey* known = FindJobKey(path);
  if (known == nullptr) {
    return BadJob(PlaceText(file, key.source()) + "unknown key '" + path + "'" + Suggestion(path));
  }
  if (const auto before = job_.origins.find(std::string(known->path));
      before != job_.origins.end()) {
    return BadJob(PlaceText(file, key.source()) + std::string(known->path) +
                  ": got it twice, before at " + OriginText(before->second) + ", want it once");
  }
  const KeyOrigin origin{KeyOrigin::Kind::kFile, file, static_cast<int>(key.source().begin.line)};
  const absl::Status stored = Store(path, value, origin);
  return stored.ok() ? stored
                     : BadJob(PlaceText(file, value.source()) + std::string(stored.message()));
}

absl::Status Loader::Variables(const Environment& environment) {
  for (const auto& [name, text] : environment) {
    if (!name.starts_with("RIVULET_") ||
        std::find(std::begin(kReserved), std::end(kReserved), name) != std::end(kReserved)) {
      continue;
    }
    const std::string path = PathOf(name);
    if (FindJobKey(path) == nullptr) {
      const std::string near = Nearest(path, JobKeyPaths());
      job_.notes.push_back("environment variable " + name + " names no key and is ignored" +
                           (near.empty() ? "" : "; did you mean " + VariableOf(near) + "?"));
      continue;
    }
    RV_RETURN_IF_ERROR(StoreText(path, text, {KeyOrigin::Kind::kEnvironment, name, 0}));
  }
  return absl::OkStatus();
}

absl::Status Loader::Sets(const std::vector<std::string>& sets) {
  std::map<std::string, std::string> seen;
  for (const std::string& set : sets) {
    const size_t equals = set.find('=');
    if (equals == std::string::npos)
      return BadJob("--set " + set + ": got no '=', want path=value");
    const std::string path = set.substr(0, equals), text = set.substr(equals + 1);
    const JobKey* key = FindJobKey(path);
    const std::string name = key == nullptr ? path : std::string(key->path);
    if (const auto [it, fresh] = seen.emplace(name, text); !fresh && it->second != text) {
      return BadJob("--set " + name + ": set twice, to '" + Shortened(it->second) + "' and '" +
                    Shortened(text) + "'");
    }
    RV_RETURN_IF_ERROR(StoreText(path, text, {KeyOrigin::Kind::kFlag, "--set", 0}));
  }
  return absl::OkStatus();
}

// A value outside a file: TOML, or else the text as it stands. A key that holds text takes it as it
// stands unless it is quoted, so that job.name=42 is a name.
absl::Status Loader::StoreText(const std::string& path, const std::string& text,
                               const KeyOrigin& origin) {
  const JobKey* key = FindJobKey(path);
  const bool holds_text =
      key != nullptr && std::holds_alternative<std::string*>(key->ref(job_.spec));
  if (!IsUtf8(text)) {
    return BadJob(path + ": got bytes that are not UTF-8 (" + OriginText(origin) + "), want text");
  }
  absl::StatusOr<toml::table> parsed = ParseToml("value = " + text, "value");
  const bool one = parsed.ok() && parsed->size() == 1;
  if (one && !(holds_text && !parsed->get("value")->is_string())) {
    return Store(path, *parsed->get("value"), origin);
  }
  return Store(path, toml::value<std::string>(text), origin);
}

absl::Status Loader::Store(const std::string& path, const toml::node& node,
                           const KeyOrigin& origin) {
  const JobKey* key = FindJobKey(path);
  if (key == nullptr) return BadJob("unknown key '" + path + "'" + Suggestion(path));
  const std::string name(key->path);
  std::string hyphenated = path;
  std::replace(hyphenated.begin(), hyphenated.end(), '_', '-');
  if (hyphenated != name) job_.notes.push_back("'" + path + "' is read as '" + name + "'");
  if (!std::visit(Assign{node}, key->ref(job_.spec))) {
    const bool in_file = origin.kind == KeyOrigin::Kind::kFile;  // the caller gives the place
    return BadJob(name + ": got " + TextOf(node) +
                  (in_file ? "" : " (" + OriginText(origin) + ")") + ", want " + WantedOf(*key));
  }
  NoteMethod(name);
  job_.origins[name] = origin;
  return absl::OkStatus();
}

void Loader::NoteMethod(std::string_view path) {
  const std::string_view section = path.substr(0, path.find('.'));
  if (IsNameAmong(kMethods, section)) methods_.emplace(section);
}

// Keys that nobody set and whose default would only be refused beside what was set.
void Loader::ResolveDefaults() {
  JobSpec& spec = job_.spec;
  const auto unset = [this](const char* key) { return !job_.origins.contains(key); };
  const bool noised = spec.privacy.mechanism != "none";
  const bool votes = spec.scalars.enabled && spec.scalars.combine == "vote";
  if ((spec.secure_aggregation.enabled || noised || votes) && unset("strategy.weighting")) {
    spec.strategy.weighting = "uniform";
    job_.notes.push_back(
        "strategy.weighting is \"uniform\": the default \"tokens\" goes neither with "
        "secure-aggregation nor with privacy.mechanism nor with scalars.combine = \"vote\"");
  }
  if (spec.secure_aggregation.enabled && spec.scalars.enabled && spec.scalars.pool == 0 &&
      spec.robust.groups == 0 && unset("scalars.drawn-from")) {
    spec.scalars.drawn_from = "session";
    job_.notes.push_back(
        "scalars.drawn-from is \"session\" under masks: whoever writes the job cannot choose the "
        "directions. Set it to \"job\" for a state that can be repeated");
  }
  const bool in_clear = spec.privacy.evaluate_in_clear && spec.privacy.mechanism != "example";
  if (noised && !in_clear && spec.evaluate.every == 0 && unset("data.held-out-fraction")) {
    spec.data.held_out_fraction = 0;
    job_.notes.push_back(
        "data.held-out-fraction is 0.0 under privacy.mechanism: nothing leaves a client without "
        "noise, and no held-out figures are printed");
  }
}

absl::StatusOr<LoadedJob> Loader::Finish() {
  if (methods_.size() > 1) {
    return BadJob("[" + *methods_.begin() + "] and [" + *std::next(methods_.begin()) +
                  "]: got both, want exactly one method section");
  }
  if (!methods_.empty()) job_.spec.method = *methods_.begin();
  ResolveDefaults();
  return std::move(job_);
}

std::vector<std::string> Sections(const JobSpec& spec) {
  std::vector<std::string> sections;
  for (const JobKey& key : JobKeys()) {
    const std::string section(key.path.substr(0, key.path.find('.')));
    const bool other_method = IsNameAmong(kMethods, section) && section != spec.method;
    if (!other_method && (sections.empty() || sections.back() != section))
      sections.push_back(section);
  }
  return sections;
}

std::string Pad(std::string text, size_t width) {
  text.resize(std::max(text.size() + 1, width), ' ');
  return text;
}

KeyOrigin OriginOf(const LoadedJob& job, const JobKey& key) {
  const auto it = job.origins.find(std::string(key.path));
  return it == job.origins.end() ? KeyOrigin{} : it->second;
}

}  // namespace

Environment ProcessEnvironment() {
  Environment variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (!text.starts_with("RIVULET_") || equals == std::string_view::npos) continue;
    variables.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  std::sort(variables.begin(), variables.end());
  return variables;
}

std::string OriginText(const KeyOrigin& origin) {
  switch (origin.kind) {
    case KeyOrigin::Kind::kFile:
      return origin.where + ":" + std::to_string(origin.line);
    case KeyOrigin::Kind::kEnvironment:
      return "env " + origin.where;
    case KeyOrigin::Kind::kFlag:
      return "flag " + origin.where;
    default:
      return "default";
  }
}

absl::Status LoadedJob::Validate() const {
  for (const JobKey& key : JobKeys()) {
    RV_RETURN_IF_ERROR(CheckRange(key, spec, OriginText(OriginOf(*this, key))));
  }
  return spec.Validate();
}

absl::StatusOr<LoadedJob> ParseJob(std::string_view toml, std::string_view name,
                                   const Environment& environment,
                                   const std::vector<std::string>& sets) {
  Loader loader;
  RV_RETURN_IF_ERROR(loader.File(toml, name));
  RV_RETURN_IF_ERROR(loader.Variables(environment));
  RV_RETURN_IF_ERROR(loader.Sets(sets));
  return loader.Finish();
}

absl::StatusOr<LoadedJob> LoadJob(const std::filesystem::path& path, const Environment& environment,
                                  const std::vector<std::string>& sets) {
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxFileBytes);
  if (!text.ok()) return WithExit(text.status(), ExitCode::kConfig);
  return ParseJob(*text, path.string(), environment, sets);
}

std::string JobToml(const JobSpec& spec) {
  std::string out;
  for (const std::string& section : Sections(spec)) {
    out += (out.empty() ? "[" : "\n[") + section + "]\n";
    for (const JobKey& key : JobKeys()) {
      if (!key.path.starts_with(section + ".")) continue;
      out += std::string(key.path.substr(section.size() + 1)) + " = " + ValueText(key, spec) + "\n";
    }
  }
  return out;
}

std::string OriginTable(const LoadedJob& job) {
  std::string out = Pad("KEY", 36) + Pad("VALUE", 32) + "ORIGIN\n";
  for (const std::string& section : Sections(job.spec)) {
    for (const JobKey& key : JobKeys()) {
      if (!key.path.starts_with(section + ".")) continue;
      out += Pad(std::string(key.path), 36) + Pad(ValueText(key, job.spec), 32) +
             OriginText(OriginOf(job, key)) + "\n";
    }
  }
  return out;
}

std::string OriginJson(const LoadedJob& job) {
  constexpr const char* kKinds[] = {"default", "file", "env", "flag"};
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const JobKey& key : JobKeys()) {
    const KeyOrigin origin = OriginOf(job, key);
    nlohmann::ordered_json from = {{"kind", kKinds[static_cast<int>(origin.kind)]}};
    if (!origin.where.empty()) from["path"] = origin.where;
    if (origin.line > 0) from["line"] = origin.line;
    rows.push_back({{"key", key.path}, {"value", ValueText(key, job.spec)}, {"origin", from}});
  }
  return rows.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace rivulet
