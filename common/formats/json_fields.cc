#include "common/formats/json_fields.h"

namespace rivulet {
namespace {

std::string Range(const std::string& kind, auto least, auto most) {
  return kind + " " + nlohmann::json(least).dump() + ".." + nlohmann::json(most).dump();
}

bool IsInteger(const nlohmann::json& value, int64_t least, int64_t most) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) return false;
  const int64_t number = value.get<int64_t>();
  return number >= least && number <= most;
}

bool IsNumber(const nlohmann::json& value, double least, double most) {
  if (!value.is_number()) return false;
  const double number = value.get<double>();
  return number >= least && number <= most;
}

}  // namespace

bool JsonFields::Has(const char* key) const {
  return object_.contains(key) && !object_.at(key).is_null();
}

void JsonFields::Refuse(const char* key, const std::string& want, absl::StatusCode code) {
  if (!status_.ok()) return;
  const std::string got = object_.contains(key) ? object_.at(key).dump(-1, ' ', true).substr(0, 100)
                                                : std::string("none");
  status_ = rivulet::Refuse(code, where_ + key + ": got " + got + ", want " + want);
}

int64_t JsonFields::RequiredInteger(const char* key, int64_t least, int64_t most) {
  if (Has(key) && IsInteger(Raw(key), least, most)) return Raw(key).get<int64_t>();
  Refuse(key, Range("an integer", least, most));
  return least;
}

double JsonFields::RequiredNumber(const char* key, double least, double most) {
  if (Has(key) && IsNumber(Raw(key), least, most)) return Raw(key).get<double>();
  Refuse(key, Range("a number", least, most));
  return least;
}

std::string JsonFields::RequiredText(const char* key, size_t most_bytes) {
  if (Has(key) && Raw(key).is_string() &&
      Raw(key).get_ref<const std::string&>().size() <= most_bytes)
    return Raw(key).get<std::string>();
  Refuse(key, "a string of at most " + std::to_string(most_bytes) + " bytes");
  return "";
}

int64_t JsonFields::Integer(const char* key, int64_t absent, int64_t least, int64_t most) {
  return Has(key) ? RequiredInteger(key, least, most) : absent;
}

double JsonFields::Number(const char* key, double absent, double least, double most) {
  return Has(key) ? RequiredNumber(key, least, most) : absent;
}

std::string JsonFields::Text(const char* key, const std::string& absent, size_t most_bytes) {
  return Has(key) ? RequiredText(key, most_bytes) : absent;
}

std::optional<int64_t> JsonFields::OptionalInteger(const char* key, int64_t least, int64_t most) {
  if (!Has(key)) return std::nullopt;
  return RequiredInteger(key, least, most);
}

std::optional<double> JsonFields::OptionalNumber(const char* key, double least, double most) {
  if (!Has(key)) return std::nullopt;
  return RequiredNumber(key, least, most);
}

bool JsonFields::Boolean(const char* key, bool absent) {
  if (!Has(key)) return absent;
  if (!Raw(key).is_boolean()) Refuse(key, "true or false");
  return Raw(key).is_boolean() ? Raw(key).get<bool>() : absent;
}

std::vector<std::string> JsonFields::Texts(const char* key, size_t most) {
  if (!Has(key)) return {};
  const nlohmann::json& list = Raw(key);
  std::vector<std::string> texts;
  bool good = list.is_array() && list.size() <= most;
  for (size_t row = 0; good && row < list.size(); ++row) {
    good = list[row].is_string();
    if (good) texts.push_back(list[row].get<std::string>());
  }
  if (!good) Refuse(key, "an array of strings");
  return texts;
}

std::vector<int64_t> JsonFields::Integers(const char* key, int64_t least, int64_t most,
                                          size_t count) {
  if (!Has(key)) return {};
  const nlohmann::json list = Raw(key).is_array() ? Raw(key) : nlohmann::json::array({Raw(key)});
  std::vector<int64_t> numbers;
  for (const nlohmann::json& value : list) {
    if (!IsInteger(value, least, most) || numbers.size() == count) {
      Refuse(key, Range("integers", least, most));
      return {};
    }
    numbers.push_back(value.get<int64_t>());
  }
  return numbers;
}

}  // namespace rivulet
