#include "common/job/job_document.h"

#include <regex>
#include <utility>

#include "common/formats/json.h"
#include "common/io/sha256.h"
#include "common/job/job_keys.h"
#include "common/job/key_tables.h"

namespace rivulet {
namespace {

using Json = nlohmann::json;  // objects are sorted by key

constexpr char kApi[] = "rivulet.job/1";
constexpr size_t kMaxBytes = 4 << 20;

absl::Status BadDocument(const std::string& message) {
  return WithExit(Refuse(absl::StatusCode::kInvalidArgument, "job document: " + message),
                  ExitCode::kConfig);
}

// A key's value as JSON; durations in whole seconds.
struct ToJson {
  template <typename T>
  Json operator()(const T* value) const {
    return *value;
  }
  Json operator()(const std::chrono::seconds* value) const { return value->count(); }
};

// Stores a JSON value where a key refers to; false when the type does not fit.
struct FromJson {
  const Json& json;

  template <typename T>
  bool Integer(T* out) const {
    if (json.is_number_unsigned() && std::in_range<T>(json.get<uint64_t>())) {
      *out = static_cast<T>(json.get<uint64_t>());
      return true;
    }
    if (!json.is_number_integer() || json.is_number_unsigned() ||
        !std::in_range<T>(json.get<int64_t>()))
      return false;
    *out = static_cast<T>(json.get<int64_t>());
    return true;
  }
  bool operator()(int* out) const { return Integer(out); }
  bool operator()(int64_t* out) const { return Integer(out); }
  bool operator()(uint64_t* out) const { return Integer(out); }
  bool operator()(double* out) const {
    if (json.is_number()) *out = json.get<double>();
    return json.is_number();
  }
  bool operator()(bool* out) const {
    if (json.is_boolean()) *out = json.get<bool>();
    return json.is_boolean();
  }
  bool operator()(std::string* out) const {
    if (json.is_string()) *out = json.get<std::string>();
    return json.is_string();
  }
  bool operator()(std::chrono::seconds* out) const {
    int64_t count = 0;
    if (!Integer(&count)) return false;
    *out = std::chrono::seconds(count);
    return true;
  }
  template <typename T>
  bool operator()(std::vector<T>* out) const {
    if (!json.is_array()) return false;
    out->clear();
    for (const Json& item : json) {
      T value;
      if (!FromJson{item}(&value)) return false;
      out->push_back(std::move(value));
    }
    return true;
  }
};

absl::Status ReadSpec(const Json& json, JobSpec& spec) {
  if (!json.is_object()) return BadDocument("spec: want an object");
  size_t found = 0;
  for (const JobKey& key : JobKeys()) {
    if (!InJobDocument(key)) continue;
    const auto it = json.find(std::string(key.path));
    if (it == json.end()) return BadDocument("spec: '" + std::string(key.path) + "' is missing");
    ++found;
    if (!std::visit(FromJson{*it}, key.ref(spec))) {
      return BadDocument(std::string(key.path) + ": got " + it->dump().substr(0, 200) + ", want " +
                         WantedOf(key));
    }
  }
  if (found == json.size()) return absl::OkStatus();
  for (const auto& [name, value] : json.items()) {
    const JobKey* key = FindJobKey(name);
    if (key == nullptr || key->path != name || !InJobDocument(*key))
      return BadDocument("spec: unknown key '" + name.substr(0, 200) + "'");
  }
  return BadDocument("spec: keys twice");
}

absl::Status ReadString(const Json& root, const char* key, std::string& out) {
  const auto it = root.find(key);
  if (it == root.end() || !it->is_string())
    return BadDocument(std::string(key) + ": want a string");
  out = it->get<std::string>();
  return absl::OkStatus();
}

}  // namespace

std::string JobDocumentText(const JobDocument& document) {
  Json spec = Json::object();
  JobSpec copy = document.spec;
  for (const JobKey& key : JobKeys()) {
    if (InJobDocument(key)) spec[std::string(key.path)] = std::visit(ToJson{}, key.ref(copy));
  }
  Json root = {{"api", kApi},
               {"base_hash", document.base_hash},
               {"heads_missing", document.heads_missing},
               {"method", document.spec.method},
               {"model_config", document.model_config},
               {"spec", std::move(spec)}};
  if (!document.base_tensors.empty()) root["base_tensors"] = document.base_tensors;
  return root.dump(-1, ' ', false, Json::error_handler_t::replace);  // never throws
}

absl::StatusOr<JobDocument> ParseJobDocument(std::string_view text) {
  auto parsed = ParseJson(text, {kMaxBytes, 8});
  if (!parsed.ok()) return WithExit(Annotate(parsed.status(), "job document"), ExitCode::kConfig);
  const Json& root = *parsed;
  const bool from_base = root.is_object() && root.contains("base_tensors");
  if (!root.is_object() || root.size() != (from_base ? 7 : 6)) {
    return BadDocument("want an object of 6 keys, or 7 with base_tensors");
  }
  JobDocument document;
  std::string api;
  RV_RETURN_IF_ERROR(ReadString(root, "api", api));
  if (api != kApi) return BadDocument("api: got '" + api.substr(0, 100) + "', want '" + kApi + "'");
  RV_RETURN_IF_ERROR(ReadString(root, "base_hash", document.base_hash));
  RV_RETURN_IF_ERROR(ReadString(root, "method", document.spec.method));
  RV_RETURN_IF_ERROR(ReadString(root, "model_config", document.model_config));
  static const std::regex kHash("sha256:[0-9a-f]{64}");
  if (!std::regex_match(document.base_hash, kHash))
    return BadDocument("base_hash: want sha256:<64 hex digits>");
  if (from_base) RV_RETURN_IF_ERROR(ReadString(root, "base_tensors", document.base_tensors));
  static const std::regex kHex("[0-9a-f]{64}");
  if (from_base && !std::regex_match(document.base_tensors, kHex)) {
    return BadDocument("base_tensors: got '" + document.base_tensors.substr(0, 100) +
                       "', want 64 hex digits, or no such key");
  }
  if (!IsNameAmong(kMethods, document.spec.method)) {
    return BadDocument("method: got '" + document.spec.method.substr(0, 100) + "', want " +
                       kMethods);
  }
  const auto heads = root.find("heads_missing");
  if (heads == root.end() || !FromJson{*heads}(&document.heads_missing)) {
    return BadDocument("heads_missing: want a list of strings");
  }
  const auto spec = root.find("spec");
  if (spec == root.end()) return BadDocument("spec: want an object");
  RV_RETURN_IF_ERROR(ReadSpec(*spec, document.spec));
  RV_RETURN_IF_ERROR(document.spec.Validate());
  if (JobDocumentText(document) != text) {
    return BadDocument(
        "got another spelling of it, want sorted keys, no white space, shortest numbers");
  }
  return document;
}

std::string JobHash(const JobDocument& document) { return Sha256Hex(JobDocumentText(document)); }

}  // namespace rivulet
