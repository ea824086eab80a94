#include "common/job/job_file.h"

#include <toml++/toml.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "common/io/file.h"
#include "common/job/job_keys.h"
#include "common/suggest.h"

extern char** environ;

namespace rivulet {
namespace {

constexpr uint64_t kMaxFileBytes = 1 << 20;
constexpr std::string_view kReserved[] = {"RIVULET_CONFIG", "RIVULET_CONTEXT", "RIVULET_LOG",
                                          "RIVULET_NO_PROGRESS", "RIVULET_SHARED"};

absl::Status Bad(const std::string& message) {
  return WithExit(Refuse(absl::StatusCode::kInvalidArgument, message), ExitCode::kConfig);
}

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
  return out.str();
}

// Collects values into a LoadedJob, layer by layer.
class Loader {
 public:
  absl::Status File(std::string_view toml, std::string_view name);
  absl::Status Variables(const Environment& environment);
  absl::Status Sets(const std::vector<std::string>& sets);
  absl::StatusOr<LoadedJob> Finish();

 private:
  absl::Status Section(const std::string& section, const toml::node& node, const std::string& file);
  absl::Status Store(const std::string& path, const toml::node& node, const KeyOrigin& origin);
  void NoteMethod(std::string_view path);

  LoadedJob job_;
  std::set<std::string> methods_;
};

std::string Place(const std::string& file, const toml::node& node) {
  const auto& begin = node.source().begin;
  return file + ":" + std::to_string(begin.line) + ":" + std::to_string(begin.column) + ": ";
}

absl::Status Loader::File(std::string_view toml, std::string_view name) {
  const std::string file(name);
  toml::table root;
  try {
    root = toml::parse(toml, file);
  } catch (const toml::parse_error& error) {
    const auto& begin = error.source().begin;
    return Bad(file + ":" + std::to_string(begin.line) + ":" + std::to_string(begin.column) + ": " +
               std::string(error.description()));
  }
  for (const auto& [key, node] : root)
    RV_RETURN_IF_ERROR(Section(std::string(key.str()), node, file));
  return absl::OkStatus();
}

absl::Status Loader::Section(const std::string& section, const toml::node& node,
                             const std::string& file) {
  const toml::table* table = node.as_table();
  std::vector<std::string> known;
  for (const JobKey& key : JobKeys()) {
    const std::string name(key.path.substr(0, key.path.find('.')));
    if (known.empty() || known.back() != name) known.push_back(name);
  }
  const bool exists = std::find(known.begin(), known.end(), section) != known.end();
  if (table == nullptr || !exists) {
    return Bad(Place(file, node) + "unknown " + (table == nullptr ? "key" : "section") + " '" +
               section + "'" + DidYouMean(section, known));
  }
  NoteMethod(section + ".");
  for (const auto& [key, value] : *table) {
    const KeyOrigin origin{KeyOrigin::Kind::kFile, file,
                           static_cast<int>(value.source().begin.line)};
    const std::string path = section + "." + std::string(key.str());
    if (absl::Status status = Store(path, value, origin); !status.ok()) {
      return Bad(Place(file, value) + std::string(status.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status Loader::Variables(const Environment& environment) {
  for (const auto& [name, text] : environment) {
    if (!name.starts_with("RIVULET_") ||
        std::find(std::begin(kReserved), std::end(kReserved), name) != std::end(kReserved)) {
      continue;
    }
    std::string path = name.substr(8);
    if (const size_t dot = path.find("__"); dot != std::string::npos) path.replace(dot, 2, ".");
    std::transform(path.begin(), path.end(), path.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    if (FindJobKey(path) == nullptr) {
      job_.notes.push_back("environment variable " + name + " names no key and is ignored");
      continue;
    }
    RV_RETURN_IF_ERROR(Sets({path + "=" + text}));
    job_.origins[std::string(FindJobKey(path)->path)] = {KeyOrigin::Kind::kEnvironment, name, 0};
  }
  return absl::OkStatus();
}

absl::Status Loader::Sets(const std::vector<std::string>& sets) {
  std::map<std::string, std::string> seen;
  for (const std::string& set : sets) {
    const size_t equals = set.find('=');
    if (equals == std::string::npos) return Bad("--set " + set + ": got no '=', want path=value");
    const std::string path = set.substr(0, equals), text = set.substr(equals + 1);
    const JobKey* key = FindJobKey(path);
    const std::string name = key == nullptr ? path : std::string(key->path);
    if (const auto [it, fresh] = seen.emplace(name, text); !fresh && it->second != text) {
      return Bad("--set " + name + ": set twice, to '" + it->second + "' and '" + text + "'");
    }
    toml::table parsed;
    try {
      parsed = toml::parse("value = " + text);
    } catch (const toml::parse_error&) {
      parsed.insert_or_assign("value", text);  // not TOML: a plain string
    }
    if (parsed.size() != 1)
      return Bad("--set " + name + ": got '" + text + "', want one TOML value or a string");
    RV_RETURN_IF_ERROR(Store(path, *parsed.get("value"), {KeyOrigin::Kind::kFlag, "--set", 0}));
  }
  return absl::OkStatus();
}

absl::Status Loader::Store(const std::string& path, const toml::node& node,
                           const KeyOrigin& origin) {
  const JobKey* key = FindJobKey(path);
  if (key == nullptr) return Bad("unknown key '" + path + "'" + DidYouMean(path, JobKeyPaths()));
  const std::string name(key->path);
  std::string hyphenated = path;
  std::replace(hyphenated.begin(), hyphenated.end(), '_', '-');
  if (hyphenated != name) job_.notes.push_back("'" + path + "' is read as '" + name + "'");
  if (!std::visit(Assign{node}, key->ref(job_.spec))) {
    return Bad(name + ": got " + TextOf(node) + ", want " + WantedOf(*key));
  }
  NoteMethod(name);
  job_.origins[name] = origin;
  return absl::OkStatus();
}

void Loader::NoteMethod(std::string_view path) {
  for (const char* method : {"lora", "adapter"}) {
    if (path.starts_with(std::string(method) + ".")) methods_.insert(method);
  }
}

absl::StatusOr<LoadedJob> Loader::Finish() {
  if (methods_.size() > 1)
    return Bad("[lora] and [adapter]: got both, want exactly one method section");
  if (!methods_.empty()) job_.spec.method = *methods_.begin();
  return std::move(job_);
}

std::vector<std::string> Sections(const JobSpec& spec) {
  std::vector<std::string> sections;
  for (const JobKey& key : JobKeys()) {
    const std::string section(key.path.substr(0, key.path.find('.')));
    const bool other_method = (section == "lora" || section == "adapter") && section != spec.method;
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
  auto text = ReadFile(path, kMaxFileBytes);
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
