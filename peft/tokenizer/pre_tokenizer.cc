#include "peft/tokenizer/pre_tokenizer.h"

#include "peft/tokenizer/byte_level.h"
#include "peft/tokenizer/needle.h"
#include "peft/tokenizer/parts.h"
#include "peft/tokenizer/split.h"
#include "peft/tokenizer/unicode.h"
#include "peft/tokenizer/unicode8_tables.h"

namespace rivulet {
namespace {

using Made = absl::StatusOr<std::unique_ptr<PreTokenizer>>;

// Most pre-tokenisers find delimiters in each piece on its own.
absl::Status SplitEach(
    std::vector<Piece>& pieces, SplitBehavior behavior, bool invert,
    const std::function<absl::StatusOr<std::vector<Regex::Match>>(std::string_view)>&
        delimiters_of) {
  std::vector<Piece> out;
  for (const Piece& piece : pieces) {
    RV_ASSIGN_OR_RETURN(const auto delimiters, delimiters_of(piece.text));
    SplitAt(piece, delimiters, behavior, invert, out);
  }
  pieces = std::move(out);
  return absl::OkStatus();
}

template <typename Finder>
absl::StatusOr<std::vector<Regex::Match>> MatchesOf(const Finder& finder, std::string_view text) {
  std::vector<Regex::Match> found;
  RV_RETURN_IF_ERROR(
      finder.ForEachMatch(text, [&](Regex::Match match) { found.push_back(match); }));
  return found;
}

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, std::optional<Regex> pattern)
      : add_prefix_space_(add_prefix_space), pattern_(std::move(pattern)) {}

  static Made Make(const JsonMembers& fields) {
    RV_ASSIGN_OR_RETURN(const bool add_prefix_space, fields.Bool("add_prefix_space", true));
    RV_ASSIGN_OR_RETURN(const bool use_regex, fields.Bool("use_regex", true));
    std::optional<Regex> pattern;
    if (use_regex) {
      RV_ASSIGN_OR_RETURN(pattern, Regex::Compile(kGpt2Pattern));
    }
    return std::make_unique<ByteLevel>(add_prefix_space, std::move(pattern));
  }

  absl::Status Split(std::vector<Piece>& pieces) const override {
    for (Piece& piece : pieces) {
      if (add_prefix_space_ && piece.text.front() != ' ') piece.text.insert(0, 1, ' ');
    }
    if (pattern_.has_value()) {
      RV_RETURN_IF_ERROR(
          SplitEach(pieces, SplitBehavior::kIsolated, false,
                    [this](std::string_view text) { return MatchesOf(*pattern_, text); }));
    }
    for (Piece& piece : pieces) piece.text = BytesToCodes(piece.text);
    return absl::OkStatus();
  }

 private:
  bool add_prefix_space_;
  std::optional<Regex> pattern_;
};

class Metaspace final : public PreTokenizer {
 public:
  static Made Make(const JsonMembers& fields) {
    auto made = std::make_unique<Metaspace>();
    RV_RETURN_IF_ERROR(made->Read(fields));
    return made;
  }

  absl::Status Split(std::vector<Piece>& pieces) const override {
    for (Piece& piece : pieces) Mark(piece);
    if (!split_) return absl::OkStatus();
    const std::string_view mark = replacement_;
    return SplitEach(pieces, SplitBehavior::kMergedWithNext, false,
                     [mark](std::string_view text) -> absl::StatusOr<std::vector<Regex::Match>> {
                       std::vector<Regex::Match> found;
                       for (size_t at = text.find(mark); at != std::string_view::npos;
                            at = text.find(mark, at + mark.size())) {
                         found.push_back({at, at + mark.size()});
                       }
                       return found;
                     });
  }

 private:
  absl::Status Read(const JsonMembers& fields) {
    RV_ASSIGN_OR_RETURN(replacement_, fields.String("replacement", replacement_));
    if (CountCodes(replacement_) != 1) return fields.Wrong("replacement", "one character");
    RV_ASSIGN_OR_RETURN(scheme_, fields.String("prepend_scheme", "always"));
    if (scheme_ != "always" && scheme_ != "first" && scheme_ != "never") {
      return fields.Wrong("prepend_scheme", "always, first or never");
    }
    RV_ASSIGN_OR_RETURN(const bool add_prefix_space, fields.Bool("add_prefix_space", true));
    if (!add_prefix_space && scheme_ != "never") {
      return fields.Wrong("add_prefix_space", "true, or prepend_scheme never beside it");
    }
    RV_ASSIGN_OR_RETURN(split_, fields.Bool("split", true));
    return absl::OkStatus();
  }

  void Mark(Piece& piece) const {
    std::string marked;
    for (char c : piece.text) {
      if (c == ' ') {
        marked += replacement_;
      } else {
        marked += c;
      }
    }
    const bool wanted = scheme_ == "always" || (scheme_ == "first" && piece.at_start);
    if (wanted && !marked.starts_with(replacement_)) marked.insert(0, replacement_);
    piece.text = std::move(marked);
  }

  std::string replacement_ = "\xE2\x96\x81";
  std::string scheme_;
  bool split_ = true;
};

class PatternSplit final : public PreTokenizer {
 public:
  PatternSplit(Needle pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  static Made Make(const JsonMembers& fields) {
    RV_ASSIGN_OR_RETURN(Needle pattern, Needle::Read(fields));
    RV_ASSIGN_OR_RETURN(const SplitBehavior behavior, ReadBehavior(fields, std::nullopt));
    RV_ASSIGN_OR_RETURN(const bool invert, fields.Bool("invert", false));
    return std::make_unique<PatternSplit>(std::move(pattern), behavior, invert);
  }

  absl::Status Split(std::vector<Piece>& pieces) const override {
    return SplitEach(pieces, behavior_, invert_,
                     [this](std::string_view text) { return MatchesOf(pattern_, text); });
  }

 private:
  Needle pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Cuts at single characters of a class.
class ClassSplit final : public PreTokenizer {
 public:
  ClassSplit(bool (*is_delimiter)(char32_t), SplitBehavior behavior)
      : is_delimiter_(is_delimiter), behavior_(behavior) {}

  static Made MakeDigits(const JsonMembers& fields) {
    RV_ASSIGN_OR_RETURN(const bool individual, fields.Bool("individual_digits", false));
    return std::make_unique<ClassSplit>(
        IsNumeric, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  static Made MakePunctuation(const JsonMembers& fields) {
    RV_ASSIGN_OR_RETURN(const SplitBehavior behavior,
                        ReadBehavior(fields, SplitBehavior::kIsolated));
    return std::make_unique<ClassSplit>(IsBertPunctuation, behavior);
  }
  static Made MakeWhitespaceSplit(const JsonMembers&) {
    return std::make_unique<ClassSplit>(IsWhiteSpace, SplitBehavior::kRemoved);
  }

  absl::Status Split(std::vector<Piece>& pieces) const override {
    return SplitEach(pieces, behavior_, false,
                     [this](std::string_view text) -> absl::StatusOr<std::vector<Regex::Match>> {
                       return CharactersThat(text, is_delimiter_);
                     });
  }

 private:
  bool (*is_delimiter_)(char32_t);
  SplitBehavior behavior_;
};

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> parts) : parts_(std::move(parts)) {}

  static Made Make(const JsonMembers& fields) {
    RV_ASSIGN_OR_RETURN(auto parts,
                        MakeParts<PreTokenizer>(fields, "pretokenizers", MakePreTokenizer));
    return std::make_unique<Sequence>(std::move(parts));
  }
  static Made MakeBert(const JsonMembers&) {
    std::vector<std::unique_ptr<PreTokenizer>> parts;
    parts.push_back(std::make_unique<ClassSplit>(IsWhiteSpace, SplitBehavior::kRemoved));
    parts.push_back(std::make_unique<ClassSplit>(IsBertPunctuation, SplitBehavior::kIsolated));
    return std::make_unique<Sequence>(std::move(parts));
  }
  // \w+|[^\w\s]+ : runs of word characters and runs of the rest, without white space.
  static Made MakeWhitespace(const JsonMembers&) {
    std::vector<std::unique_ptr<PreTokenizer>> parts;
    parts.push_back(std::make_unique<ClassSplit>(IsWhiteSpace, SplitBehavior::kRemoved));
    parts.push_back(std::make_unique<ClassSplit>(IsWordCode, SplitBehavior::kContiguous));
    return std::make_unique<Sequence>(std::move(parts));
  }

  absl::Status Split(std::vector<Piece>& pieces) const override {
    for (const auto& part : parts_) RV_RETURN_IF_ERROR(part->Split(pieces));
    return absl::OkStatus();
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

constexpr PartEntry<PreTokenizer> kPreTokenizers[] = {
    {"BertPreTokenizer", Sequence::MakeBert},
    {"ByteLevel", ByteLevel::Make},
    {"Digits", ClassSplit::MakeDigits},
    {"Metaspace", Metaspace::Make},
    {"Punctuation", ClassSplit::MakePunctuation},
    {"Sequence", Sequence::Make},
    {"Split", PatternSplit::Make},
    {"Whitespace", Sequence::MakeWhitespace},
    {"WhitespaceSplit", ClassSplit::MakeWhitespaceSplit},
};

}  // namespace

absl::StatusOr<std::unique_ptr<PreTokenizer>> MakePreTokenizer(const Json* description) {
  return MakePart<PreTokenizer>(description, "pre_tokenizer", kPreTokenizers);
}

}  // namespace rivulet
