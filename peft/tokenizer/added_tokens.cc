#include "peft/tokenizer/added_tokens.h"

#include <algorithm>

#include "peft/tokenizer/unicode.h"

namespace rivulet {
namespace {

constexpr size_t kMaxTokens = 100'000;
constexpr size_t kMaxBytes = 1024;  // of one token

bool TouchesWord(std::string_view text, size_t start, size_t end) {
  if (start > 0 && IsWordCode(CodeBefore(text, start))) return true;
  return end < text.size() && IsWordCode(NextCode(text, end));
}

}  // namespace

void AddedTokens::Trie::Add(std::string_view text, size_t token) {
  uint32_t node = 0;
  for (unsigned char byte : text) {
    const auto next = static_cast<uint32_t>(token_of_.size());
    const auto [child, added] = children_.emplace(uint64_t{node} << 8 | byte, next);
    if (added) token_of_.push_back(kNone);
    node = child->second;
  }
  token_of_[node] = token;
  first_[static_cast<unsigned char>(text.front())] = true;
}

std::optional<std::pair<size_t, size_t>> AddedTokens::Trie::LongestAt(std::string_view text,
                                                                      size_t start) const {
  if (!first_[static_cast<unsigned char>(text[start])]) return std::nullopt;
  std::optional<std::pair<size_t, size_t>> best;
  uint32_t node = 0;
  for (size_t at = start; at < text.size(); ++at) {
    const auto child = children_.find(uint64_t{node} << 8 | static_cast<unsigned char>(text[at]));
    if (child == children_.end()) break;
    node = child->second;
    if (token_of_[node] != kNone) best = {at + 1, token_of_[node]};
  }
  return best;
}

absl::StatusOr<AddedTokens> AddedTokens::Read(const Json* list, const Vocabulary& vocabulary,
                                              const Normalizer* normalizer) {
  AddedTokens tokens;
  if (list == nullptr || list->is_null()) return tokens;
  if (!list->is_array() || list->size() > kMaxTokens) {
    return Refuse(
        absl::StatusCode::kInvalidArgument,
        "tokenizer.json: added_tokens: want an array of at most " + std::to_string(kMaxTokens));
  }
  for (const Json& entry : *list) {
    const JsonMembers fields(
        entry, "tokenizer.json: added_tokens[" + std::to_string(tokens.tokens_.size()) + "]");
    RV_RETURN_IF_ERROR(tokens.Add(fields, vocabulary, normalizer));
  }
  return tokens;
}

int32_t AddedTokens::NextId(const Vocabulary& vocabulary) const {
  const auto size = static_cast<int32_t>(vocabulary.size());
  return std::max(size, largest_id_ + 1);
}

absl::Status AddedTokens::Add(const JsonMembers& fields, const Vocabulary& vocabulary,
                              const Normalizer* normalizer) {
  RV_ASSIGN_OR_RETURN(const std::string content, fields.String("content"));
  RV_ASSIGN_OR_RETURN(const bool special, fields.Bool("special", false));
  RV_ASSIGN_OR_RETURN(const bool normalized, fields.Bool("normalized", !special));
  Token token;
  RV_ASSIGN_OR_RETURN(token.single_word, fields.Bool("single_word", false));
  RV_ASSIGN_OR_RETURN(token.lstrip, fields.Bool("lstrip", false));
  RV_ASSIGN_OR_RETURN(token.rstrip, fields.Bool("rstrip", false));
  if (content.size() > kMaxBytes) return fields.Wrong("content", "at most 1024 bytes");
  if (content.empty() || ids_.contains(content)) return absl::OkStatus();
  const auto known = vocabulary.IdOf(content);
  token.id = known.has_value() ? *known : NextId(vocabulary);
  std::string pattern = content;
  if (normalized && normalizer != nullptr) {
    RV_ASSIGN_OR_RETURN(pattern, normalizer->Normalize(content));
  }
  if (!pattern.empty()) (normalized ? normalized_ : raw_).Add(pattern, tokens_.size());
  tokens_.push_back(token);
  ids_.emplace(content, token.id);
  texts_[token.id] = pattern;
  if (special) special_.insert(content);
  extra_ += known.has_value() ? 0 : 1;
  largest_id_ = std::max(largest_id_, token.id);
  return absl::OkStatus();
}

std::vector<AddedTokens::Section> AddedTokens::Find(std::string_view text, bool normalized) const {
  const Trie& trie = normalized ? normalized_ : raw_;
  std::vector<Section> sections;
  size_t done = 0;
  for (size_t at = 0; at < text.size() && !trie.empty();) {
    const auto match = trie.LongestAt(text, at);
    if (!match.has_value()) {
      ++at;
      continue;
    }
    size_t start = at, end = match->first;
    const Token& token = tokens_[match->second];
    at = end;  // a refused match is still used up
    if (token.single_word && TouchesWord(text, start, end)) continue;
    if (token.lstrip) start = StripWhiteSpace(text.substr(0, start), false, true).size();
    if (token.rstrip) end = text.size() - StripWhiteSpace(text.substr(end), true, false).size();
    start = std::max(start, done);  // what the match before took stays taken
    end = std::max(end, start);
    if (start > done) sections.push_back({done, start, std::nullopt});
    sections.push_back({start, end, token.id});
    done = end;
  }
  if (done < text.size()) sections.push_back({done, text.size(), std::nullopt});
  return sections;
}

std::optional<int32_t> AddedTokens::IdOf(std::string_view content) const {
  const auto found = ids_.find(std::string(content));
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* AddedTokens::TextOf(int32_t id) const {
  const auto found = texts_.find(id);
  return found == texts_.end() ? nullptr : &found->second;
}

}  // namespace rivulet
