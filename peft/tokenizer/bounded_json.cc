#include "peft/tokenizer/bounded_json.h"

#include <algorithm>
#include <cstdint>

namespace rivulet {
namespace {

// Walks a document without keeping it. Returning false stops the parser.
class BoundsCheck final : public nlohmann::json_sax<Json> {
 public:
  explicit BoundsCheck(const JsonTreeLimits& limits) : limits_(limits) {}

  bool null() override { return Count(); }
  bool boolean(bool) override { return Count(); }
  bool number_integer(number_integer_t) override { return Count(); }
  bool number_unsigned(number_unsigned_t) override { return Count(); }
  bool number_float(number_float_t, const string_t&) override { return Count(); }
  bool string(string_t&) override { return Count(); }
  bool binary(binary_t&) override { return Count(); }
  bool key(string_t&) override { return true; }
  bool start_object(size_t) override { return Enter(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool end_array() override { return Leave(); }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    problem_ = "invalid JSON at byte " + std::to_string(position);
    return false;
  }

  const std::string& problem() const { return problem_; }

 private:
  bool Count() {
    if (++values_ <= limits_.max_values) return true;
    problem_ = "got more than " + std::to_string(limits_.max_values) + " JSON values";
    return false;
  }
  bool Enter() {
    if (++depth_ <= limits_.max_depth) return Count();
    problem_ = "JSON nested deeper than " + std::to_string(limits_.max_depth);
    return false;
  }
  bool Leave() {
    --depth_;
    return true;
  }

  const JsonTreeLimits limits_;
  size_t values_ = 0;
  size_t depth_ = 0;
  std::string problem_;
};

std::string Describe(const Json* value) {
  if (value == nullptr) return "nothing";
  if (value->is_structured()) return value->type_name();
  const std::string text = value->dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

}  // namespace

absl::StatusOr<Json> ParseBoundedJson(std::string_view text, const JsonTreeLimits& limits) {
  BoundsCheck check(limits);
  if (!Json::sax_parse(text.begin(), text.end(), &check)) {
    return Refuse(absl::StatusCode::kInvalidArgument, check.problem());
  }
  return Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

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
