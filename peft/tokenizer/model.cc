#include "peft/tokenizer/model.h"

#include <algorithm>

#include "peft/tokenizer/parts.h"

namespace rivulet {
namespace {

constexpr PartEntry<Model> kModels[] = {
    {"BPE", MakeBpe},
    {"Unigram", MakeUnigram},
    {"WordLevel", MakeWordLevel},
    {"WordPiece", MakeWordPiece},
};

bool HasAll(const JsonMembers& fields, std::initializer_list<const char*> keys) {
  return std::all_of(keys.begin(), keys.end(),
                     [&](const char* key) { return fields.Find(key) != nullptr; });
}

// The order in which the reference tries them.
absl::StatusOr<std::unique_ptr<Model>> MakeByFields(const JsonMembers& fields) {
  if (HasAll(fields, {"vocab", "merges"})) return MakeBpe(fields);
  if (HasAll(fields,
             {"vocab", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word"})) {
    return MakeWordPiece(fields);
  }
  if (HasAll(fields, {"vocab", "unk_token"})) return MakeWordLevel(fields);
  if (HasAll(fields, {"vocab"}) && fields.Find("vocab")->is_array()) return MakeUnigram(fields);
  return fields.Wrong("type", "BPE, Unigram, WordLevel or WordPiece");
}

}  // namespace

absl::StatusOr<Vocabulary> Vocabulary::Read(const JsonMembers& model) {
  RV_ASSIGN_OR_RETURN(const Json* const pieces, model.Object("vocab"));
  Vocabulary vocabulary;
  vocabulary.ids_.reserve(pieces->size());
  vocabulary.pieces_.reserve(pieces->size());
  for (const auto& [piece, id] : pieces->items()) {
    const bool small = id.is_number_unsigned() && id.get<uint64_t>() <= uint64_t{kMaxId};
    const absl::Status added = vocabulary.Add(piece, small ? id.get<int64_t>() : -1);
    if (!added.ok()) return Annotate(added, model.where() + ".vocab");
  }
  return vocabulary;
}

absl::Status Vocabulary::Add(std::string_view piece, int64_t id) {
  if (id < 0 || id > kMaxId) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "id of '" + std::string(piece) + "': want an integer in 0.." + std::to_string(kMaxId));
  }
  if (ids_.size() >= kMaxPieces) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "got more than " + std::to_string(kMaxPieces) + " pieces");
  }
  const auto [row, added] = ids_.insert_or_assign(std::string(piece), static_cast<int32_t>(id));
  pieces_[row->second] = &row->first;
  largest_id_ = std::max(largest_id_, row->second);
  longest_bytes_ = std::max(longest_bytes_, piece.size());
  return absl::OkStatus();
}

std::optional<int32_t> Vocabulary::IdOf(std::string_view piece) const {
  const auto found = ids_.find(piece);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::PieceOf(int32_t id) const {
  const auto found = pieces_.find(id);
  return found == pieces_.end() ? nullptr : found->second;
}

absl::StatusOr<std::unique_ptr<Model>> MakeModel(const Json& description) {
  const JsonMembers fields(description, "tokenizer.json: model");
  if (description.is_object() && fields.Find("type") == nullptr) return MakeByFields(fields);
  return MakePart<Model>(&description, "model", kModels);
}

}  // namespace rivulet
