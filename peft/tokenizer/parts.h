#pragma once

#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "peft/tokenizer/json_members.h"

namespace rivulet {

// One row of a table of pipeline parts: the `type` of the file and what builds it.
template <typename Part>
struct PartEntry {
  const char* type;
  absl::StatusOr<std::unique_ptr<Part>> (*make)(const JsonMembers& fields);
};

// Looks `type` up in the table. `stage` is the part's name in messages ("normalizer").
template <typename Part>
absl::StatusOr<std::unique_ptr<Part>> MakePart(const Json* description, const char* stage,
                                               std::span<const PartEntry<Part>> table) {
  if (description == nullptr || description->is_null()) return nullptr;
  const JsonMembers fields(*description, std::string("tokenizer.json: ") + stage);
  RV_ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
  std::string known;
  for (const PartEntry<Part>& entry : table) {
    if (entry.type == type) return entry.make(fields);
    known += (known.empty() ? "" : ", ") + std::string(entry.type);
  }
  return Refuse(absl::StatusCode::kUnimplemented, std::string("tokenizer.json: ") + stage + " '" +
                                                      type + "' is not supported, want one of " +
                                                      known);
}

// The members of a Sequence, in order.
template <typename Part>
absl::StatusOr<std::vector<std::unique_ptr<Part>>> MakeParts(
    const JsonMembers& fields, const char* key,
    absl::StatusOr<std::unique_ptr<Part>> (*make)(const Json*)) {
  RV_ASSIGN_OR_RETURN(const Json* const list, fields.Array(key));
  std::vector<std::unique_ptr<Part>> parts;
  for (const Json& description : *list) {
    RV_ASSIGN_OR_RETURN(auto part, make(&description));
    if (part == nullptr) return fields.Wrong(key, "objects with a type");
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace rivulet
