#include "peft/tokenizer/tokenizer.h"

#include <algorithm>

#include "common/io/file.h"
#include "peft/tokenizer/added_tokens.h"
#include "peft/tokenizer/decoder.h"
#include "peft/tokenizer/legacy_files.h"
#include "peft/tokenizer/model.h"
#include "peft/tokenizer/normalizer.h"
#include "peft/tokenizer/post_processor.h"
#include "peft/tokenizer/pre_tokenizer.h"
#include "peft/tokenizer/unicode.h"

namespace rivulet {

struct Tokenizer::Pipeline {
  std::unique_ptr<Normalizer> normalizer;       // may be null
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // may be null
  std::unique_ptr<Model> model;
  std::unique_ptr<PostProcessor> post_processor;
  std::unique_ptr<Decoder> decoder;
  AddedTokens added;
  SpecialIds special;
  int32_t id_limit = 0;

  absl::Status Read(const Json& file);
  std::optional<int32_t> IdOf(std::string_view token) const;
  absl::StatusOr<std::vector<int32_t>> TextIds(std::string_view text) const;

 private:
  absl::Status AppendGap(std::string_view gap, bool at_start, std::vector<int32_t>& ids) const;
  absl::Status AppendPieces(std::string_view text, bool at_start, std::vector<int32_t>& ids) const;
};

namespace {

absl::Status CheckVersion(const Json& file) {
  const JsonMembers fields(file, "tokenizer.json");
  if (!file.is_object()) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  std::string("tokenizer.json: got ") + file.type_name() + ", want an object");
  }
  RV_ASSIGN_OR_RETURN(const std::string version, fields.String("version", "1.0"));
  if (version != "1.0") return fields.Wrong("version", "\"1.0\"");
  return absl::OkStatus();
}

absl::Status CheckText(std::string_view text) {
  if (text.size() > Tokenizer::kMaxTextBytes) {
    return Refuse(absl::StatusCode::kInvalidArgument, "text: got " + std::to_string(text.size()) +
                                                          " bytes, want at most " +
                                                          std::to_string(Tokenizer::kMaxTextBytes));
  }
  if (const size_t bad = FirstInvalidUtf8(text); bad != text.size()) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "text: byte " + std::to_string(bad) + " is not valid UTF-8");
  }
  return absl::OkStatus();
}

// A token of tokenizer_config.json is a string or an object with `content`.
absl::StatusOr<std::string> ReadToken(const JsonMembers& config, const char* key) {
  const Json* value = config.Find(key);
  if (value != nullptr && value->is_object()) {
    return JsonMembers(*value, config.where() + "." + key).String("content", "");
  }
  return config.String(key, "");
}

}  // namespace

absl::Status Tokenizer::Pipeline::Read(const Json& file) {
  RV_RETURN_IF_ERROR(CheckVersion(file));
  const JsonMembers fields(file, "tokenizer.json");
  RV_ASSIGN_OR_RETURN(const Json* const model_fields, fields.Object("model"));
  RV_ASSIGN_OR_RETURN(normalizer, MakeNormalizer(fields.Find("normalizer")));
  RV_ASSIGN_OR_RETURN(pre_tokenizer, MakePreTokenizer(fields.Find("pre_tokenizer")));
  RV_ASSIGN_OR_RETURN(post_processor, MakePostProcessor(fields.Find("post_processor")));
  RV_ASSIGN_OR_RETURN(decoder, MakeDecoder(fields.Find("decoder")));
  RV_ASSIGN_OR_RETURN(model, MakeModel(*model_fields));
  RV_ASSIGN_OR_RETURN(
      added, AddedTokens::Read(fields.Find("added_tokens"), model->vocabulary(), normalizer.get()));
  id_limit = std::max(model->vocabulary().largest_id(), added.largest_id()) + 1;
  return absl::OkStatus();
}

std::optional<int32_t> Tokenizer::Pipeline::IdOf(std::string_view token) const {
  const auto id = added.IdOf(token);
  return id.has_value() ? id : model->vocabulary().IdOf(token);
}

// Ids of one text without special tokens: added tokens in the raw text, then each gap.
absl::StatusOr<std::vector<int32_t>> Tokenizer::Pipeline::TextIds(std::string_view text) const {
  RV_RETURN_IF_ERROR(CheckText(text));
  std::vector<int32_t> ids;
  for (const AddedTokens::Section& section : added.Find(text, /*normalized=*/false)) {
    if (section.id.has_value()) {
      ids.push_back(*section.id);
      continue;
    }
    const std::string_view gap = text.substr(section.start, section.end - section.start);
    RV_RETURN_IF_ERROR(AppendGap(gap, section.start == 0, ids));
  }
  return ids;
}

absl::Status Tokenizer::Pipeline::AppendGap(std::string_view gap, bool at_start,
                                            std::vector<int32_t>& ids) const {
  std::string owned;
  if (normalizer != nullptr) {
    RV_ASSIGN_OR_RETURN(owned, normalizer->Normalize(gap));
    gap = owned;
  }
  for (const AddedTokens::Section& section : added.Find(gap, /*normalized=*/true)) {
    if (section.id.has_value()) {
      ids.push_back(*section.id);
      continue;
    }
    const std::string_view text = gap.substr(section.start, section.end - section.start);
    RV_RETURN_IF_ERROR(AppendPieces(text, at_start && section.start == 0, ids));
  }
  return absl::OkStatus();
}

absl::Status Tokenizer::Pipeline::AppendPieces(std::string_view text, bool at_start,
                                               std::vector<int32_t>& ids) const {
  std::vector<Piece> pieces = {{std::string(text), at_start}};
  if (pre_tokenizer != nullptr) RV_RETURN_IF_ERROR(pre_tokenizer->Split(pieces));
  for (const Piece& piece : pieces) RV_RETURN_IF_ERROR(model->Tokenize(piece.text, ids));
  return absl::OkStatus();
}

absl::StatusOr<Tokenizer> Tokenizer::Parse(std::string_view tokenizer_json,
                                           std::string_view config) {
  constexpr JsonLimits kLimits{.bytes = kMaxFileBytes, .depth = 32};
  const auto file = ParseJson(tokenizer_json, kLimits);
  if (!file.ok()) return Annotate(file.status(), "tokenizer.json");
  auto pipeline = std::make_shared<Pipeline>();
  RV_RETURN_IF_ERROR(pipeline->Read(*file));
  if (config.empty()) return Tokenizer(std::move(pipeline));

  const auto parsed = ParseJson(config, kLimits);
  if (!parsed.ok()) return Annotate(parsed.status(), "tokenizer_config.json");
  const JsonMembers fields(*parsed, "tokenizer_config.json");
  SpecialIds& special = pipeline->special;
  const std::pair<const char*, std::optional<int32_t>*> tokens[] = {
      {"bos_token", &special.bos},  {"eos_token", &special.eos}, {"pad_token", &special.pad},
      {"unk_token", &special.unk},  {"cls_token", &special.cls}, {"sep_token", &special.sep},
      {"mask_token", &special.mask}};
  for (const auto& [key, id] : tokens) {
    RV_ASSIGN_OR_RETURN(const std::string token, ReadToken(fields, key));
    if (!token.empty()) *id = pipeline->IdOf(token);
  }
  RV_ASSIGN_OR_RETURN(pipeline->post_processor, WithStatedEnds(std::move(pipeline->post_processor),
                                                               fields, special.bos, special.eos));
  return Tokenizer(std::move(pipeline));
}

absl::StatusOr<Tokenizer> Tokenizer::Load(const std::filesystem::path& path) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  const std::filesystem::path home = folder ? path : path.parent_path();
  const std::filesystem::path file = folder ? path / "tokenizer.json" : path;
  std::string config;
  if (std::filesystem::exists(home / "tokenizer_config.json", ignored)) {
    RV_ASSIGN_OR_RETURN(config, ReadFile(home / "tokenizer_config.json", kMaxFileBytes));
  }
  std::string text;
  if (folder && !std::filesystem::exists(file, ignored)) {
    RV_ASSIGN_OR_RETURN(text, TokenizerJsonFromLegacyFiles(path, config, kMaxFileBytes));
  } else {
    RV_ASSIGN_OR_RETURN(text, ReadFile(file, kMaxFileBytes));
  }
  auto tokenizer = Parse(text, config);
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), home.string());
  return tokenizer;
}

absl::StatusOr<Encoding> Tokenizer::Encode(std::string_view text, bool add_special) const {
  RV_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, pipeline_->TextIds(text));
  return pipeline_->post_processor->Join(ids, nullptr, add_special);
}

absl::StatusOr<Encoding> Tokenizer::EncodePair(std::string_view first, std::string_view second,
                                               bool add_special) const {
  RV_ASSIGN_OR_RETURN(const std::vector<int32_t> first_ids, pipeline_->TextIds(first));
  RV_ASSIGN_OR_RETURN(const std::vector<int32_t> second_ids, pipeline_->TextIds(second));
  return pipeline_->post_processor->Join(first_ids, &second_ids, add_special);
}

absl::StatusOr<std::string> Tokenizer::Decode(std::span<const int32_t> ids,
                                              bool skip_special) const {
  std::vector<std::string> tokens;
  for (int32_t id : ids) {
    const std::string* token = pipeline_->added.TextOf(id);
    if (token == nullptr) token = pipeline_->model->vocabulary().PieceOf(id);
    if (token == nullptr || (skip_special && pipeline_->added.IsSpecial(*token))) continue;
    tokens.push_back(*token);
  }
  RV_RETURN_IF_ERROR(pipeline_->decoder->Decode(tokens));
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

size_t Tokenizer::vocab_size() const {
  return pipeline_->model->vocabulary().size() + pipeline_->added.extra();
}

int32_t Tokenizer::id_limit() const { return pipeline_->id_limit; }

absl::Status Tokenizer::FitsEmbedding(int64_t rows) const {
  if (id_limit() <= rows) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "tokenizer: got ids up to " + std::to_string(id_limit() - 1) +
                    ", want them below the model's vocab_size, " + std::to_string(rows));
}

std::optional<int32_t> Tokenizer::IdOf(std::string_view token) const {
  return pipeline_->IdOf(token);
}

const SpecialIds& Tokenizer::special_ids() const { return pipeline_->special; }

absl::StatusOr<std::string> StreamDecoder::Push(int32_t id) {
  ids_.push_back(id);
  return Emit(/*last=*/false);
}

absl::StatusOr<std::string> StreamDecoder::Finish() {
  RV_ASSIGN_OR_RETURN(std::string text, Emit(/*last=*/true));
  ids_.clear();
  printed_ = 0;
  return text;
}

absl::StatusOr<std::string> StreamDecoder::Emit(bool last) {
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  const std::span<const int32_t> ids(ids_);
  RV_ASSIGN_OR_RETURN(const std::string old_text,
                      tokenizer_.Decode(ids.first(printed_), skip_special_));
  RV_ASSIGN_OR_RETURN(const std::string text, tokenizer_.Decode(ids, skip_special_));
  if (text.size() <= old_text.size()) return std::string();
  if (!last && text.ends_with(kReplacement)) return std::string();
  // Keep what was new as context: some decoders print a token by what stands in front of it.
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(printed_));
  printed_ = ids_.size();
  return text.substr(old_text.size());
}

}  // namespace rivulet
