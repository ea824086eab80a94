#pragma once

#include <string>
#include <string_view>

#include "common/formats/json.h"

namespace rivulet {

using Json = nlohmann::json;

// Members of one object of a file; `where` names the object in messages.
class JsonMembers {
 public:
  // `object` must outlive this.
  JsonMembers(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  // The member, or null when absent or JSON null.
  const Json* Find(const char* key) const;
  // Errors: InvalidArgument naming where, key and the type seen. Without `fallback` the member must
  // be there.
  absl::StatusOr<std::string> String(const char* key) const;
  absl::StatusOr<std::string> String(const char* key, std::string fallback) const;
  absl::StatusOr<bool> Bool(const char* key, bool fallback) const;
  absl::StatusOr<int64_t> Integer(const char* key, int64_t min, int64_t max) const;
  absl::StatusOr<const Json*> Object(const char* key) const;
  absl::StatusOr<const Json*> Array(const char* key) const;

  const std::string& where() const { return where_; }
  // "where.key: got <type or value>, want <want>".
  absl::Status Wrong(const char* key, std::string_view want) const;

 private:
  const Json& object_;
  std::string where_;
};

}  // namespace rivulet
