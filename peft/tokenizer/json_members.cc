#include "peft/tokenizer/json_members.h"

#include <cstdint>

namespace rivulet {
namespace {

std::string Describe(const Json* value) {
  if (value == nullptr) return "nothing";
  if (value->is_structured()) return value->type_name();
  const std::string text = value->dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

}  // namespace

const Json* JsonMembers::Find(const char* key) const {
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

absl::Status JsonMembers::Wrong(const char* key, std::string_view want) const {
  return Refuse(
      absl::StatusCode::kInvalidArgument,
      where_ + "." + key + ": got " + Describe(Find(key)) + ", want " + std::string(want));
}

absl::StatusOr<std::string> JsonMembers::String(const char* key) const {
  const Json* value = Find(key);
  if (value == nullptr || !value->is_string()) return Wrong(key, "a string");
  return value->get<std::string>();
}

absl::StatusOr<std::string> JsonMembers::String(const char* key, std::string fallback) const {
  if (Find(key) == nullptr) return fallback;
  return String(key);
}

absl::StatusOr<bool> JsonMembers::Bool(const char* key, bool fallback) const {
  const Json* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return Wrong(key, "true or false");
  return value->get<bool>();
}

absl::StatusOr<int64_t> JsonMembers::Integer(const char* key, int64_t min, int64_t max) const {
  const Json* value = Find(key);
  const bool fits = value != nullptr && value->is_number_integer() &&
                    (!value->is_number_unsigned() || value->get<uint64_t>() <= INT64_MAX) &&
                    value->get<int64_t>() >= min && value->get<int64_t>() <= max;
  if (!fits) return Wrong(key, std::to_string(min) + ".." + std::to_string(max));
  return value->get<int64_t>();
}

absl::StatusOr<const Json*> JsonMembers::Object(const char* key) const {
  const Json* value = Find(key);
  if (value == nullptr || !value->is_object()) return Wrong(key, "an object");
  return value;
}

absl::StatusOr<const Json*> JsonMembers::Array(const char* key) const {
  const Json* value = Find(key);
  if (value == nullptr || !value->is_array()) return Wrong(key, "an array");
  return value;
}

}  // namespace rivulet
