#include "peft/tokenizer/normalizer.h"

#include <vector>

#include "peft/tokenizer/bert_normalizer.h"
#include "peft/tokenizer/needle.h"
#include "peft/tokenizer/parts.h"
#include "peft/tokenizer/unicode.h"

namespace rivulet {
namespace {

using Made = absl::StatusOr<std::unique_ptr<Normalizer>>;

template <NormalForm kForm>
class UnicodeForm final : public Normalizer {
 public:
  static Made Make(const JsonMembers&) { return std::make_unique<UnicodeForm>(); }
  absl::StatusOr<std::string> Normalize(std::string_view text) const override {
    return NormalizeUnicode(text, kForm);
  }
};

class LowercaseAll final : public Normalizer {
 public:
  static Made Make(const JsonMembers&) { return std::make_unique<LowercaseAll>(); }
  absl::StatusOr<std::string> Normalize(std::string_view text) const override {
    return Lowercase(text);
  }
};

class Prepend final : public Normalizer {
 public:
  static Made Make(const JsonMembers& fields) {
    auto made = std::make_unique<Prepend>();
    RV_ASSIGN_OR_RETURN(made->prefix_, fields.String("prepend"));
    return made;
  }
  absl::StatusOr<std::string> Normalize(std::string_view text) const override {
    return text.empty() ? std::string() : prefix_ + std::string(text);
  }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer {
 public:
  Replace(Needle pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  static Made Make(const JsonMembers& fields) {
    RV_ASSIGN_OR_RETURN(Needle pattern, Needle::Read(fields));
    RV_ASSIGN_OR_RETURN(std::string content, fields.String("content"));
    return std::make_unique<Replace>(std::move(pattern), std::move(content));
  }
  absl::StatusOr<std::string> Normalize(std::string_view text) const override {
    return ReplaceAll(pattern_, text, content_);
  }

 private:
  Needle pattern_;
  std::string content_;
};

class Strip final : public Normalizer {
 public:
  static Made Make(const JsonMembers& fields) {
    auto made = std::make_unique<Strip>();
    RV_ASSIGN_OR_RETURN(made->left_, fields.Bool("strip_left", true));
    RV_ASSIGN_OR_RETURN(made->right_, fields.Bool("strip_right", true));
    return made;
  }
  absl::StatusOr<std::string> Normalize(std::string_view text) const override {
    return std::string(StripWhiteSpace(text, left_, right_));
  }

 private:
  bool left_ = true;
  bool right_ = true;
};

class StripAccents final : public Normalizer {
 public:
  static Made Make(const JsonMembers&) { return std::make_unique<StripAccents>(); }
  absl::StatusOr<std::string> Normalize(std::string_view text) const override {
    std::string out;
    for (size_t position = 0; position < text.size();) {
      const char32_t c = NextCode(text, position);
      if (!IsCombiningMark(c)) AppendCode(c, out);
    }
    return out;
  }
};

class Sequence final : public Normalizer {
 public:
  static Made Make(const JsonMembers& fields) {
    auto made = std::make_unique<Sequence>();
    RV_ASSIGN_OR_RETURN(made->parts_, MakeParts<Normalizer>(fields, "normalizers", MakeNormalizer));
    return made;
  }
  absl::StatusOr<std::string> Normalize(std::string_view text) const override {
    std::string out(text);
    for (const auto& part : parts_) {
      RV_ASSIGN_OR_RETURN(out, part->Normalize(out));
    }
    return out;
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

constexpr PartEntry<Normalizer> kNormalizers[] = {
    {"BertNormalizer", MakeBertNormalizer},
    {"Lowercase", LowercaseAll::Make},
    {"NFC", UnicodeForm<NormalForm::kNfc>::Make},
    {"NFD", UnicodeForm<NormalForm::kNfd>::Make},
    {"NFKC", UnicodeForm<NormalForm::kNfkc>::Make},
    {"NFKD", UnicodeForm<NormalForm::kNfkd>::Make},
    {"Prepend", Prepend::Make},
    {"Replace", Replace::Make},
    {"Sequence", Sequence::Make},
    {"Strip", Strip::Make},
    {"StripAccents", StripAccents::Make},
};

}  // namespace

absl::StatusOr<std::unique_ptr<Normalizer>> MakeNormalizer(const Json* description) {
  return MakePart<Normalizer>(description, "normalizer", kNormalizers);
}

}  // namespace rivulet
