#include <algorithm>
#include <string>

#include "peft/tokenizer/model.h"
#include "peft/tokenizer/unicode.h"

namespace rivulet {
namespace {

absl::Status NoUnknownToken(const std::string& token) {
  return Refuse(
      absl::StatusCode::kFailedPrecondition,
      "tokenizer: unk_token '" + token + "' is not in the vocabulary, but the text needs it");
}

// Greedy longest match from the left; one failure makes the whole piece unknown.
class WordPiece final : public Model {
 public:
  WordPiece(Vocabulary vocabulary, std::string unk_token, std::string prefix, size_t max_characters)
      : Model(std::move(vocabulary)),
        unk_token_(std::move(unk_token)),
        prefix_(std::move(prefix)),
        max_characters_(max_characters) {}

  absl::Status Tokenize(std::string_view piece, std::vector<int32_t>& ids) const override {
    const size_t before = ids.size();
    if (CountCodes(piece) <= max_characters_ && Match(piece, ids)) return absl::OkStatus();
    ids.resize(before);
    const auto unknown = vocabulary().IdOf(unk_token_);
    if (!unknown.has_value()) return NoUnknownToken(unk_token_);
    ids.push_back(*unknown);
    return absl::OkStatus();
  }

 private:
  bool Match(std::string_view piece, std::vector<int32_t>& ids) const {
    for (size_t start = 0; start < piece.size();) {
      const size_t length = LongestFrom(piece, start, ids);
      if (length == 0) return false;
      start += length;
    }
    return true;
  }

  // Appends the id of the longest piece at `start`; its length in bytes, or 0.
  size_t LongestFrom(std::string_view piece, size_t start, std::vector<int32_t>& ids) const {
    std::string candidate = start > 0 ? prefix_ : std::string();
    const size_t marked = candidate.size();
    candidate += piece.substr(start, vocabulary().longest_bytes());
    for (; candidate.size() > marked; candidate.pop_back()) {
      if (const auto id = vocabulary().IdOf(candidate)) {
        ids.push_back(*id);
        return candidate.size() - marked;
      }
    }
    return 0;
  }

  std::string unk_token_;
  std::string prefix_;
  size_t max_characters_;
};

class WordLevel final : public Model {
 public:
  WordLevel(Vocabulary vocabulary, std::string unk_token)
      : Model(std::move(vocabulary)), unk_token_(std::move(unk_token)) {}

  absl::Status Tokenize(std::string_view piece, std::vector<int32_t>& ids) const override {
    auto id = vocabulary().IdOf(piece);
    if (!id.has_value()) id = vocabulary().IdOf(unk_token_);
    if (!id.has_value()) return NoUnknownToken(unk_token_);
    ids.push_back(*id);
    return absl::OkStatus();
  }

 private:
  std::string unk_token_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeWordPiece(const JsonMembers& fields) {
  RV_ASSIGN_OR_RETURN(std::string unk_token, fields.String("unk_token", "[UNK]"));
  RV_ASSIGN_OR_RETURN(std::string prefix, fields.String("continuing_subword_prefix", "##"));
  int64_t max_characters = 100;
  if (fields.Find("max_input_chars_per_word") != nullptr) {
    RV_ASSIGN_OR_RETURN(max_characters, fields.Integer("max_input_chars_per_word", 1, 10'000));
  }
  RV_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Read(fields));
  return std::make_unique<WordPiece>(std::move(vocabulary), std::move(unk_token), std::move(prefix),
                                     static_cast<size_t>(max_characters));
}

absl::StatusOr<std::unique_ptr<Model>> MakeWordLevel(const JsonMembers& fields) {
  RV_ASSIGN_OR_RETURN(std::string unk_token, fields.String("unk_token", "<unk>"));
  RV_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Read(fields));
  return std::make_unique<WordLevel>(std::move(vocabulary), std::move(unk_token));
}

}  // namespace rivulet
