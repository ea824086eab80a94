#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "peft/tokenizer/model.h"
#include "peft/tokenizer/normalizer.h"

namespace rivulet {

// The `added_tokens` of a tokenizer.json: strings that are found in the text before anything else
// and become one token each. Immutable once read; thread safe.
class AddedTokens {
 public:
  // Ids are the model's where it knows the content; otherwise the next free one, whatever the file
  // says: that is what the reference does.
  // Errors: InvalidArgument naming the entry and field.
  static absl::StatusOr<AddedTokens> Read(const Json* list, const Vocabulary& vocabulary,
                                          const Normalizer* normalizer);

  // A stretch of the text: an added token, or a gap that later stages see.
  struct Section {
    size_t start = 0;  // bytes
    size_t end = 0;
    std::optional<int32_t> id;
  };
  // Leftmost, then longest. Tokens with normalized = false are sought in the text as it is, the
  // others (`normalized`) in the normalised gaps.
  std::vector<Section> Find(std::string_view text, bool normalized) const;

  std::optional<int32_t> IdOf(std::string_view content) const;
  // What decoding prints; null when no added token has this id.
  const std::string* TextOf(int32_t id) const;
  bool IsSpecial(const std::string& text) const { return special_.contains(text); }
  // How many are not in the model's vocabulary.
  size_t extra() const { return extra_; }
  int32_t largest_id() const { return largest_id_; }  // -1 when there is none

 private:
  struct Token {
    int32_t id = 0;
    bool single_word = false;  // not beside a word character
    bool lstrip = false;       // takes the white space on its left
    bool rstrip = false;
  };
  // Byte trie of the strings sought for.
  class Trie {
   public:
    void Add(std::string_view text, size_t token);
    // The longest string that starts at `start`: its end and token.
    std::optional<std::pair<size_t, size_t>> LongestAt(std::string_view text, size_t start) const;
    bool empty() const { return children_.empty(); }

   private:
    static constexpr size_t kNone = ~size_t{0};
    std::unordered_map<uint64_t, uint32_t> children_;  // node << 8 | byte -> node
    std::vector<size_t> token_of_ = {kNone};           // by node
    bool first_[256] = {};
  };

  absl::Status Add(const JsonMembers& fields, const Vocabulary& vocabulary,
                   const Normalizer* normalizer);
  int32_t NextId(const Vocabulary& vocabulary) const;

  std::vector<Token> tokens_;
  Trie raw_;
  Trie normalized_;
  std::unordered_map<std::string, int32_t> ids_;
  std::unordered_map<int32_t, std::string> texts_;
  std::unordered_set<std::string> special_;
  size_t extra_ = 0;
  int32_t largest_id_ = -1;
};

}  // namespace rivulet
