#include "peft/tokenizer/legacy_files.h"

#include <array>

#include "common/io/file.h"
#include "peft/tokenizer/json_members.h"
#include "peft/tokenizer/unicode.h"

namespace rivulet {
namespace {

// Lines without their end ("\n" or "\r\n"); an empty line at the end of the file is none.
std::vector<std::string_view> LinesOf(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

absl::StatusOr<std::string> ReadUtf8(const std::filesystem::path& path, uint64_t max_bytes) {
  RV_ASSIGN_OR_RETURN(std::string text, ReadFile(path, max_bytes));
  if (const size_t bad = FirstInvalidUtf8(text); bad != text.size()) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  path.string() + ": byte " + std::to_string(bad) + " is not valid UTF-8");
  }
  return text;
}

absl::StatusOr<Json> ByteLevelBpe(const std::filesystem::path& folder, uint64_t max_bytes) {
  RV_ASSIGN_OR_RETURN(Json vocab, ReadJson(folder / "vocab.json", {.bytes = max_bytes}));
  RV_ASSIGN_OR_RETURN(const std::string merges_text, ReadUtf8(folder / "merges.txt", max_bytes));
  Json merges = Json::array();
  for (std::string_view line : LinesOf(merges_text)) {
    if (!line.empty()) merges.push_back(std::string(line));
  }
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  return Json{
      {"version", "1.0"},
      {"pre_tokenizer", byte_level},
      {"decoder", byte_level},
      {"model", {{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", std::move(merges)}}}};
}

// [token, id] as BertProcessing wants it.
absl::StatusOr<Json> TokenAndId(const Json& vocab, const char* token) {
  if (!vocab.contains(token)) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  std::string("vocab.txt: want a line '") + token + "'");
  }
  return Json::array({token, vocab[token]});
}

absl::StatusOr<bool> ReadsLowerCase(std::string_view config) {
  if (config.empty()) return true;
  auto parsed = ParseJson(config);
  if (!parsed.ok()) return Annotate(parsed.status(), "tokenizer_config.json");
  return JsonMembers(*parsed, "tokenizer_config.json").Bool("do_lower_case", true);
}

Json SpecialTokens(const Json& vocab) {
  Json tokens = Json::array();
  for (const char* token : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    if (!vocab.contains(token)) continue;
    tokens.push_back({{"content", token}, {"special", true}, {"normalized", false}});
  }
  return tokens;
}

absl::StatusOr<Json> BertWordPiece(const std::filesystem::path& folder, std::string_view config,
                                   uint64_t max_bytes) {
  RV_ASSIGN_OR_RETURN(const bool lowercase, ReadsLowerCase(config));
  RV_ASSIGN_OR_RETURN(const std::string text, ReadUtf8(folder / "vocab.txt", max_bytes));
  Json vocab = Json::object();
  uint32_t id = 0;
  for (std::string_view line : LinesOf(text)) {
    vocab[std::string(StripWhiteSpace(line, false, true))] = id++;
  }
  RV_ASSIGN_OR_RETURN(const Json cls, TokenAndId(vocab, "[CLS]"));
  RV_ASSIGN_OR_RETURN(const Json sep, TokenAndId(vocab, "[SEP]"));
  return Json{{"version", "1.0"},
              {"added_tokens", SpecialTokens(vocab)},
              {"normalizer", {{"type", "BertNormalizer"}, {"lowercase", lowercase}}},
              {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
              {"post_processor", {{"type", "BertProcessing"}, {"cls", cls}, {"sep", sep}}},
              {"decoder", {{"type", "WordPiece"}}},
              {"model", {{"type", "WordPiece"}, {"vocab", std::move(vocab)}}}};
}

}  // namespace

absl::StatusOr<std::string> TokenizerJsonFromLegacyFiles(const std::filesystem::path& folder,
                                                         std::string_view config,
                                                         uint64_t max_bytes) {
  std::error_code ignored;
  absl::StatusOr<Json> made;
  if (std::filesystem::exists(folder / "vocab.json", ignored)) {
    made = ByteLevelBpe(folder, max_bytes);
  } else if (std::filesystem::exists(folder / "vocab.txt", ignored)) {
    made = BertWordPiece(folder, config, max_bytes);
  } else {
    return Refuse(
        absl::StatusCode::kNotFound,
        folder.string() + ": found no tokenizer.json, vocab.json + merges.txt or vocab.txt");
  }
  if (!made.ok()) return made.status();
  return made->dump();
}

}  // namespace rivulet
