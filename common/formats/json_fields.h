#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/formats/json.h"

namespace rivulet {

// null for an empty text or list, as Python writes None.
nlohmann::json OrNull(const auto& value) {
  return value.empty() ? nlohmann::json(nullptr) : nlohmann::json(value);
}

// Reads typed, bounded fields of a JSON object. The first mistake is kept and every later read
// gives its default, so a reader states all its fields and asks once. Messages:
// "hidden_size: got -3, want an integer 1..65536". Not thread safe; `object` must outlive it.
class JsonFields {
 public:
  // `where` goes in front of every key, e.g. "rope_scaling.".
  explicit JsonFields(const nlohmann::json& object, std::string where = "")
      : object_(object), where_(std::move(where)) {}

  // Absent or null gives `absent`.
  int64_t Integer(const char* key, int64_t absent, int64_t least, int64_t most);
  double Number(const char* key, double absent, double least, double most);
  bool Boolean(const char* key, bool absent);
  std::string Text(const char* key, const std::string& absent, size_t most_bytes = 512);
  std::optional<int64_t> OptionalInteger(const char* key, int64_t least, int64_t most);
  std::optional<double> OptionalNumber(const char* key, double least, double most);

  // Absent is an error.
  int64_t RequiredInteger(const char* key, int64_t least, int64_t most);
  double RequiredNumber(const char* key, double least, double most);
  std::string RequiredText(const char* key, size_t most_bytes = 512);

  // An array of strings; null and absent give an empty list.
  std::vector<std::string> Texts(const char* key, size_t most = 10'000);
  // An integer, an array of them, null or absent.
  std::vector<int64_t> Integers(const char* key, int64_t least, int64_t most, size_t count = 1024);

  bool Has(const char* key) const;  // there and not null
  const nlohmann::json& Raw(const char* key) const { return object_.at(key); }

  // Records "key: got X, want Y".
  void Refuse(const char* key, const std::string& want,
              absl::StatusCode code = absl::StatusCode::kInvalidArgument);
  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json& object_;
  std::string where_;
  absl::Status status_;
};

}  // namespace rivulet
