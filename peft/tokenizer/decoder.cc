#include "peft/tokenizer/decoder.h"

#include <optional>

#include "peft/tokenizer/byte_level.h"
#include "peft/tokenizer/needle.h"
#include "peft/tokenizer/parts.h"
#include "peft/tokenizer/unicode.h"

namespace rivulet {
namespace {

using Made = absl::StatusOr<std::unique_ptr<Decoder>>;

std::string JoinAll(const std::vector<std::string>& tokens) {
  std::string out;
  for (const std::string& token : tokens) out += token;
  return out;
}

void ReplaceLiteral(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

class Spaces final : public Decoder {
 public:
  absl::Status Decode(std::vector<std::string>& tokens) const override {
    for (size_t at = 1; at < tokens.size(); ++at) tokens[at].insert(0, 1, ' ');
    return absl::OkStatus();
  }
};

class Fuse final : public Decoder {
 public:
  static Made Make(const JsonMembers&) { return std::make_unique<Fuse>(); }
  absl::Status Decode(std::vector<std::string>& tokens) const override {
    tokens = {JoinAll(tokens)};
    return absl::OkStatus();
  }
};

class ByteLevel final : public Decoder {
 public:
  static Made Make(const JsonMembers&) { return std::make_unique<ByteLevel>(); }
  absl::Status Decode(std::vector<std::string>& tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) bytes += CodesToBytes(token);
    tokens = {Utf8Lossy(bytes)};
    return absl::OkStatus();
  }
};

class Metaspace final : public Decoder {
 public:
  static Made Make(const JsonMembers& fields) {
    auto made = std::make_unique<Metaspace>();
    RV_ASSIGN_OR_RETURN(made->replacement_, fields.String("replacement", made->replacement_));
    if (made->replacement_.empty()) return fields.Wrong("replacement", "one character");
    RV_ASSIGN_OR_RETURN(const std::string scheme, fields.String("prepend_scheme", "always"));
    made->keeps_first_ = scheme == "never";
    return made;
  }
  absl::Status Decode(std::vector<std::string>& tokens) const override {
    for (size_t at = 0; at < tokens.size(); ++at) {
      ReplaceLiteral(tokens[at], replacement_, at == 0 && !keeps_first_ ? "" : " ");
    }
    return absl::OkStatus();
  }

 private:
  std::string replacement_ = "\xE2\x96\x81";
  bool keeps_first_ = false;
};

class WordPiece final : public Decoder {
 public:
  static Made Make(const JsonMembers& fields) {
    auto made = std::make_unique<WordPiece>();
    RV_ASSIGN_OR_RETURN(made->prefix_, fields.String("prefix", "##"));
    RV_ASSIGN_OR_RETURN(made->cleanup_, fields.Bool("cleanup", true));
    return made;
  }
  absl::Status Decode(std::vector<std::string>& tokens) const override {
    for (size_t at = 0; at < tokens.size(); ++at) {
      if (at > 0) Attach(tokens[at]);
      if (cleanup_) Clean(tokens[at]);
    }
    return absl::OkStatus();
  }

 private:
  void Attach(std::string& token) const {
    if (token.starts_with(prefix_)) {
      token.erase(0, prefix_.size());
    } else {
      token.insert(0, 1, ' ');
    }
  }
  // Token by token, in this order, as the reference does.
  static void Clean(std::string& token) {
    constexpr std::string_view kRules[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (const auto& rule : kRules) ReplaceLiteral(token, rule[0], rule[1]);
  }

  std::string prefix_;
  bool cleanup_ = true;
};

class BpeSuffix final : public Decoder {
 public:
  static Made Make(const JsonMembers& fields) {
    auto made = std::make_unique<BpeSuffix>();
    RV_ASSIGN_OR_RETURN(made->suffix_, fields.String("suffix", "</w>"));
    if (made->suffix_.empty()) return fields.Wrong("suffix", "at least one character");
    return made;
  }
  absl::Status Decode(std::vector<std::string>& tokens) const override {
    for (size_t at = 0; at < tokens.size(); ++at) {
      ReplaceLiteral(tokens[at], suffix_, at + 1 == tokens.size() ? "" : " ");
    }
    return absl::OkStatus();
  }

 private:
  std::string suffix_;
};

// "<0x41>" is the byte 0x41; hexadecimal digits of either case.
std::optional<char> ByteOfToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (char c : token.substr(3, 2)) {
    if (c >= 'a' && c <= 'f') c -= 32;
    const bool hex = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
    if (!hex) return std::nullopt;
    value = value * 16 + (c <= '9' ? c - '0' : c - 'A' + 10);
  }
  return static_cast<char>(value);
}

class ByteFallback final : public Decoder {
 public:
  static Made Make(const JsonMembers&) { return std::make_unique<ByteFallback>(); }
  absl::Status Decode(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    std::string run;
    for (std::string& token : tokens) {
      if (const auto byte = ByteOfToken(token)) {
        run += *byte;
        continue;
      }
      Flush(run, out);
      out.push_back(std::move(token));
    }
    Flush(run, out);
    tokens = std::move(out);
    return absl::OkStatus();
  }

 private:
  static void Flush(std::string& run, std::vector<std::string>& out) {
    if (run.empty()) return;
    if (IsUtf8(run)) {
      out.push_back(run);
    } else {
      for (size_t count = run.size(); count > 0; --count) out.push_back("\xEF\xBF\xBD");
    }
    run.clear();
  }
};

class Strip final : public Decoder {
 public:
  static Made Make(const JsonMembers& fields) {
    auto made = std::make_unique<Strip>();
    RV_ASSIGN_OR_RETURN(made->content_, fields.String("content"));
    if (CountCodes(made->content_) != 1) return fields.Wrong("content", "one character");
    RV_ASSIGN_OR_RETURN(made->start_, fields.Integer("start", 0, 1 << 20));
    RV_ASSIGN_OR_RETURN(made->stop_, fields.Integer("stop", 0, 1 << 20));
    return made;
  }
  absl::Status Decode(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      for (int64_t cut = 0; cut < start_ && token.starts_with(content_); ++cut) {
        token.erase(0, content_.size());
      }
      for (int64_t cut = 0; cut < stop_ && token.ends_with(content_); ++cut) {
        token.resize(token.size() - content_.size());
      }
    }
    return absl::OkStatus();
  }

 private:
  std::string content_;
  int64_t start_ = 0;  // at most so many are cut off on each side
  int64_t stop_ = 0;
};

class Replace final : public Decoder {
 public:
  Replace(Needle pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  static Made Make(const JsonMembers& fields) {
    RV_ASSIGN_OR_RETURN(Needle pattern, Needle::Read(fields));
    RV_ASSIGN_OR_RETURN(std::string content, fields.String("content"));
    return std::make_unique<Replace>(std::move(pattern), std::move(content));
  }
  absl::Status Decode(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      RV_ASSIGN_OR_RETURN(token, ReplaceAll(pattern_, token, content_));
    }
    return absl::OkStatus();
  }

 private:
  Needle pattern_;
  std::string content_;
};

class Sequence final : public Decoder {
 public:
  static Made Make(const JsonMembers& fields) {
    auto made = std::make_unique<Sequence>();
    RV_ASSIGN_OR_RETURN(made->parts_, MakeParts<Decoder>(fields, "decoders", MakeDecoder));
    return made;
  }
  absl::Status Decode(std::vector<std::string>& tokens) const override {
    for (const auto& part : parts_) RV_RETURN_IF_ERROR(part->Decode(tokens));
    return absl::OkStatus();
  }

 private:
  std::vector<std::unique_ptr<Decoder>> parts_;
};

constexpr PartEntry<Decoder> kDecoders[] = {
    {"BPEDecoder", BpeSuffix::Make}, {"ByteFallback", ByteFallback::Make},
    {"ByteLevel", ByteLevel::Make},  {"Fuse", Fuse::Make},
    {"Metaspace", Metaspace::Make},  {"Replace", Replace::Make},
    {"Sequence", Sequence::Make},    {"Strip", Strip::Make},
    {"WordPiece", WordPiece::Make},
};

}  // namespace

absl::StatusOr<std::unique_ptr<Decoder>> MakeDecoder(const Json* description) {
  if (description == nullptr || description->is_null()) return std::make_unique<Spaces>();
  return MakePart<Decoder>(description, "decoder", kDecoders);
}

}  // namespace rivulet
