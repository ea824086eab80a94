#include "peft/tokenizer/post_processor.h"

#include <algorithm>
#include <iterator>

#include "peft/tokenizer/parts.h"

namespace rivulet {
namespace {

constexpr const char* kBuildTheirEnds[] = {"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer",
                                           "CohereTokenizer"};

using Made = absl::StatusOr<std::unique_ptr<PostProcessor>>;

void AppendText(const std::vector<int32_t>& ids, int32_t type_id, Encoding& out) {
  out.ids.insert(out.ids.end(), ids.begin(), ids.end());
  out.type_ids.resize(out.ids.size(), type_id);
  out.special_mask.resize(out.ids.size(), 0);
}

void AppendSpecial(const std::vector<int32_t>& ids, int32_t type_id, Encoding& out) {
  out.ids.insert(out.ids.end(), ids.begin(), ids.end());
  out.type_ids.resize(out.ids.size(), type_id);
  out.special_mask.resize(out.ids.size(), 1);
}

// Adds nothing. ByteLevel as a post-processor changes offsets alone, which we do not keep.
class Plain final : public PostProcessor {
 public:
  static Made Make(const JsonMembers&) { return std::make_unique<Plain>(); }
  Encoding Join(const std::vector<int32_t>& first, const std::vector<int32_t>* second,
                bool) const override {
    Encoding out;
    AppendText(first, 0, out);
    if (second != nullptr) AppendText(*second, 1, out);
    return out;
  }
};

class Template final : public PostProcessor {
 public:
  static Made Make(const JsonMembers& fields) {
    auto made = std::make_unique<Template>();
    RV_ASSIGN_OR_RETURN(made->single_, ReadPieces(fields, "single", false));
    RV_ASSIGN_OR_RETURN(made->pair_, ReadPieces(fields, "pair", true));
    return made;
  }

  Encoding Join(const std::vector<int32_t>& first, const std::vector<int32_t>* second,
                bool add_special) const override {
    Encoding out;
    for (const TemplatePiece& piece : second == nullptr ? single_ : pair_) {
      if (piece.text == 'A') AppendText(first, piece.type_id, out);
      if (piece.text == 'B' && second != nullptr) AppendText(*second, piece.type_id, out);
      if (piece.text == 0 && add_special) AppendSpecial(piece.special, piece.type_id, out);
    }
    return out;
  }

 private:
  struct TemplatePiece {
    char text = 0;                 // 'A', 'B', or 0 for special tokens
    std::vector<int32_t> special;  // their ids
    int32_t type_id = 0;
  };

  static absl::StatusOr<std::vector<int32_t>> ReadSpecial(const JsonMembers& fields,
                                                          const std::string& name) {
    RV_ASSIGN_OR_RETURN(const Json* const tokens, fields.Object("special_tokens"));
    const JsonMembers all(*tokens, fields.where() + ".special_tokens");
    RV_ASSIGN_OR_RETURN(const Json* const token, all.Object(name.c_str()));
    const JsonMembers one(*token, all.where() + "." + name);
    RV_ASSIGN_OR_RETURN(const Json* const list, one.Array("ids"));
    std::vector<int32_t> ids;
    for (const Json& id : *list) {
      const bool small = id.is_number_unsigned() && id.get<uint64_t>() <= INT32_MAX;
      if (!small) return one.Wrong("ids", "token ids");
      ids.push_back(id.get<int32_t>());
    }
    return ids;
  }

  static absl::StatusOr<TemplatePiece> ReadPiece(const JsonMembers& fields, const char* key,
                                                 const Json& piece) {
    const JsonMembers item(piece, fields.where() + "." + key);
    const bool is_text = item.Find("Sequence") != nullptr;
    const char* kind = is_text ? "Sequence" : "SpecialToken";
    RV_ASSIGN_OR_RETURN(const Json* const body, item.Object(kind));
    const JsonMembers inner(*body, item.where() + "." + kind);
    RV_ASSIGN_OR_RETURN(const std::string id, inner.String("id"));
    RV_ASSIGN_OR_RETURN(const int64_t type_id, inner.Integer("type_id", 0, 255));
    TemplatePiece out;
    out.type_id = static_cast<int32_t>(type_id);
    if (!is_text) {
      RV_ASSIGN_OR_RETURN(out.special, ReadSpecial(fields, id));
      return out;
    }
    if (id != "A" && id != "B") return inner.Wrong("id", "A or B");
    out.text = id[0];
    return out;
  }

  static absl::StatusOr<std::vector<TemplatePiece>> ReadPieces(const JsonMembers& fields,
                                                               const char* key, bool pair) {
    RV_ASSIGN_OR_RETURN(const Json* const list, fields.Array(key));
    if (list->size() > 64) return fields.Wrong(key, "at most 64 pieces");
    std::vector<TemplatePiece> pieces;
    int firsts = 0, seconds = 0;
    for (const Json& item : *list) {
      RV_ASSIGN_OR_RETURN(TemplatePiece piece, ReadPiece(fields, key, item));
      firsts += piece.text == 'A';
      seconds += piece.text == 'B';
      pieces.push_back(std::move(piece));
    }
    if (firsts != 1 || seconds != (pair ? 1 : 0)) {
      return fields.Wrong(key, pair ? "A and B once each" : "A once and no B");
    }
    return pieces;
  }

  std::vector<TemplatePiece> single_;
  std::vector<TemplatePiece> pair_;
};

// BertProcessing: cls A sep | B sep (type 1). RobertaProcessing: cls A sep | sep B sep, type 0
// throughout.
class ClsSep final : public PostProcessor {
 public:
  static Made MakeBert(const JsonMembers& fields) { return MakeKind(fields, false); }
  static Made MakeRoberta(const JsonMembers& fields) { return MakeKind(fields, true); }

  Encoding Join(const std::vector<int32_t>& first, const std::vector<int32_t>* second,
                bool add_special) const override {
    Encoding out;
    const int32_t second_type = roberta_ ? 0 : 1;
    if (add_special) AppendSpecial({cls_}, 0, out);
    AppendText(first, 0, out);
    if (add_special) AppendSpecial({sep_}, 0, out);
    if (second == nullptr) return out;
    if (add_special && roberta_) AppendSpecial({sep_}, 0, out);
    AppendText(*second, second_type, out);
    if (add_special) AppendSpecial({sep_}, second_type, out);
    return out;
  }

 private:
  static Made MakeKind(const JsonMembers& fields, bool roberta) {
    auto made = std::make_unique<ClsSep>();
    made->roberta_ = roberta;
    RV_ASSIGN_OR_RETURN(made->cls_, ReadToken(fields, "cls"));
    RV_ASSIGN_OR_RETURN(made->sep_, ReadToken(fields, "sep"));
    return made;
  }

  static absl::StatusOr<int32_t> ReadToken(const JsonMembers& fields, const char* key) {
    RV_ASSIGN_OR_RETURN(const Json* const pair, fields.Array(key));
    const bool fits = pair->size() == 2 && (*pair)[1].is_number_unsigned() &&
                      (*pair)[1].get<uint64_t>() <= INT32_MAX;
    if (!fits) return fields.Wrong(key, "[token, id]");
    return (*pair)[1].get<int32_t>();
  }

  int32_t cls_ = 0;
  int32_t sep_ = 0;
  bool roberta_ = false;
};

// bos A eos bos B eos (type 1), each token where there is one.
class Ends final : public PostProcessor {
 public:
  Ends(std::optional<int32_t> bos, std::optional<int32_t> eos) : bos_(bos), eos_(eos) {}

  Encoding Join(const std::vector<int32_t>& first, const std::vector<int32_t>* second,
                bool add_special) const override {
    Encoding out;
    AppendOne(first, 0, add_special, out);
    if (second != nullptr) AppendOne(*second, 1, add_special, out);
    return out;
  }

 private:
  void AppendOne(const std::vector<int32_t>& text, int32_t type_id, bool add_special,
                 Encoding& out) const {
    if (add_special && bos_.has_value()) AppendSpecial({*bos_}, type_id, out);
    AppendText(text, type_id, out);
    if (add_special && eos_.has_value()) AppendSpecial({*eos_}, type_id, out);
  }

  std::optional<int32_t> bos_;
  std::optional<int32_t> eos_;
};

// A chain in which one member at most adds tokens, as every published file has it.
Made MakeSequence(const JsonMembers& fields) {
  RV_ASSIGN_OR_RETURN(auto parts,
                      MakeParts<PostProcessor>(fields, "processors", MakePostProcessor));
  std::unique_ptr<PostProcessor> acting = std::make_unique<Plain>();
  int count = 0;
  for (auto& part : parts) {
    if (dynamic_cast<Plain*>(part.get()) != nullptr) continue;
    acting = std::move(part);
    ++count;
  }
  if (count > 1) return fields.Wrong("processors", "at most one that adds tokens");
  return acting;
}

constexpr PartEntry<PostProcessor> kPostProcessors[] = {
    {"BertProcessing", ClsSep::MakeBert},       {"ByteLevel", Plain::Make},
    {"RobertaProcessing", ClsSep::MakeRoberta}, {"Sequence", MakeSequence},
    {"TemplateProcessing", Template::Make},
};

}  // namespace

absl::StatusOr<std::unique_ptr<PostProcessor>> MakePostProcessor(const Json* description) {
  if (description == nullptr || description->is_null()) return std::make_unique<Plain>();
  return MakePart<PostProcessor>(description, "post_processor", kPostProcessors);
}

absl::StatusOr<std::unique_ptr<PostProcessor>> WithStatedEnds(std::unique_ptr<PostProcessor> made,
                                                              const JsonMembers& config,
                                                              std::optional<int32_t> bos,
                                                              std::optional<int32_t> eos) {
  const bool states_bos = config.Find("add_bos_token") != nullptr;
  const bool states_eos = config.Find("add_eos_token") != nullptr;
  if (!states_bos && !states_eos) return made;
  RV_ASSIGN_OR_RETURN(const bool wants_bos, config.Bool("add_bos_token", true));
  RV_ASSIGN_OR_RETURN(const bool wants_eos, config.Bool("add_eos_token", false));
  RV_ASSIGN_OR_RETURN(std::string kind, config.String("tokenizer_class", ""));
  if (kind.ends_with("Fast")) kind.resize(kind.size() - 4);
  if (std::find(std::begin(kBuildTheirEnds), std::end(kBuildTheirEnds), kind) !=
      std::end(kBuildTheirEnds)) {
    if (wants_bos && !bos.has_value())
      return config.Wrong("add_bos_token", "false, or a bos_token of the vocabulary");
    if (wants_eos && !eos.has_value())
      return config.Wrong("add_eos_token", "false, or an eos_token of the vocabulary");
    return std::make_unique<Ends>(wants_bos ? bos : std::nullopt, wants_eos ? eos : std::nullopt);
  }
  const Encoding one = made->Join({0}, nullptr, true);
  const auto text = std::find(one.special_mask.begin(), one.special_mask.end(), 0);
  const auto middle = one.ids.begin() + (text - one.special_mask.begin());
  const bool has_bos = bos.has_value() && std::find(one.ids.begin(), middle, *bos) != middle;
  const bool has_eos =
      eos.has_value() && std::find(middle + 1, one.ids.end(), *eos) != one.ids.end();
  if (states_bos && wants_bos != has_bos)
    return config.Wrong("add_bos_token", "what the post_processor of tokenizer.json does");
  if (states_eos && wants_eos != has_eos)
    return config.Wrong("add_eos_token", "what the post_processor of tokenizer.json does");
  return made;
}

}  // namespace rivulet
