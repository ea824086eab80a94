#include "peft/tools/tokenizer_summary.h"

#include <algorithm>
#include <set>

#include "common/formats/json_fields.h"
#include "peft/tokenizer/tokenizer.h"

namespace rivulet {
namespace {

// Load has accepted the folder already.
std::string KindOf(const std::filesystem::path& directory) {
  const auto file = ReadJson(directory / "tokenizer.json", {.bytes = Tokenizer::kMaxFileBytes});
  if (!file.ok()) return std::filesystem::exists(directory / "vocab.txt") ? "WordPiece" : "BPE";
  const auto model = file->find("model");
  if (model == file->end() || !model->is_object()) return "BPE";
  // Old files name no type; one with merges is BPE.
  return model->value("type", model->contains("merges") ? "BPE" : "WordPiece");
}

}  // namespace

absl::StatusOr<TokenizerSummary> SummarizeTokenizer(const std::filesystem::path& directory) {
  TokenizerSummary summary;
  const absl::StatusOr<Tokenizer> tokenizer = Tokenizer::Load(directory);
  if (tokenizer.status().code() == absl::StatusCode::kNotFound) return summary;
  if (tokenizer.status().code() == absl::StatusCode::kUnimplemented) {
    summary.unsupported = std::string(tokenizer.status().message());
    return summary;
  }
  if (!tokenizer.ok()) return tokenizer.status();
  summary.kind = KindOf(directory);
  summary.vocabulary = tokenizer->vocab_size();
  const SpecialIds& ids = tokenizer->special_ids();
  const std::pair<const char*, std::optional<int32_t>> known[] = {
      {"bos", ids.bos}, {"eos", ids.eos}, {"pad", ids.pad},  {"unk", ids.unk},
      {"cls", ids.cls}, {"sep", ids.sep}, {"mask", ids.mask}};
  for (const auto& [role, id] : known) {
    if (id.has_value()) summary.special.emplace_back(role, *id);
  }
  return summary;
}

absl::StatusOr<std::vector<int32_t>> StopIds(const std::filesystem::path& directory,
                                             std::optional<int32_t> tokenizer_eos,
                                             const std::vector<int64_t>& config_eos) {
  std::set<int32_t> ids;
  if (tokenizer_eos.has_value()) ids.insert(*tokenizer_eos);
  for (int64_t id : config_eos) ids.insert(static_cast<int32_t>(id));
  const auto path = directory / "generation_config.json";
  if (std::filesystem::exists(path)) {
    RV_ASSIGN_OR_RETURN(const nlohmann::json document, ReadJson(path));
    if (!document.is_object())
      return Refuse(absl::StatusCode::kInvalidArgument, path.string() + ": want a JSON object");
    JsonFields fields(document);
    for (int64_t id : fields.Integers("eos_token_id", 0, 1 << 22))
      ids.insert(static_cast<int32_t>(id));
    if (!fields.status().ok()) return Annotate(fields.status(), path.string());
  }
  return std::vector<int32_t>(ids.begin(), ids.end());
}

}  // namespace rivulet
