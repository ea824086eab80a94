#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "peft/tokenizer/json_members.h"

namespace rivulet {

// Two-way map between pieces and ids. Ids need not be dense. Immutable once read; thread safe.
class Vocabulary {
 public:
  static constexpr size_t kMaxPieces = 2'000'000;
  static constexpr int64_t kMaxId = (int64_t{1} << 24) - 1;

  // From the member `vocab`: an object {piece: id}.
  // Errors: InvalidArgument (type, id out of range, more than kMaxPieces).
  static absl::StatusOr<Vocabulary> Read(const JsonMembers& model);
  // Errors: InvalidArgument when the id is out of range or the vocabulary is full.
  absl::Status Add(std::string_view piece, int64_t id);

  std::optional<int32_t> IdOf(std::string_view piece) const;
  // Null when no piece has this id; points into the vocabulary.
  const std::string* PieceOf(int32_t id) const;
  size_t size() const { return ids_.size(); }
  int32_t largest_id() const { return largest_id_; }  // -1 when empty
  size_t longest_bytes() const { return longest_bytes_; }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  std::unordered_map<int32_t, const std::string*> pieces_;  // keys of ids_ stay where they are
  int32_t largest_id_ = -1;
  size_t longest_bytes_ = 0;
};

// Turns one piece into ids: the `model` of a tokenizer.json. Thread safe.
class Model {
 public:
  explicit Model(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  virtual ~Model() = default;
  // Appends the ids of `piece`. Errors: FailedPrecondition when the piece needs an unknown token
  // that the vocabulary lacks.
  virtual absl::Status Tokenize(std::string_view piece, std::vector<int32_t>& ids) const = 0;
  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
};

// A model without `type` is recognised by its fields, as old files need.
// Errors: InvalidArgument naming the field or the merge; Unimplemented naming the type.
absl::StatusOr<std::unique_ptr<Model>> MakeModel(const Json& description);

absl::StatusOr<std::unique_ptr<Model>> MakeBpe(const JsonMembers& fields);
absl::StatusOr<std::unique_ptr<Model>> MakeWordPiece(const JsonMembers& fields);
absl::StatusOr<std::unique_ptr<Model>> MakeWordLevel(const JsonMembers& fields);
absl::StatusOr<std::unique_ptr<Model>> MakeUnigram(const JsonMembers& fields);

}  // namespace rivulet
