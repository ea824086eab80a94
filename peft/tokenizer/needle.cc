#include "peft/tokenizer/needle.h"

namespace rivulet {
namespace {

constexpr size_t kMaxTextBytes = 256
                                 << 20;  // a chain of replacements can double its text each time

}  // namespace

absl::StatusOr<Needle> Needle::Read(const JsonMembers& owner) {
  RV_ASSIGN_OR_RETURN(const Json* const pattern, owner.Object("pattern"));
  const JsonMembers fields(*pattern, owner.where() + ".pattern");
  Needle out;
  if (fields.Find("Regex") != nullptr) {
    RV_ASSIGN_OR_RETURN(const std::string text, fields.String("Regex"));
    auto regex = Regex::Compile(text);
    if (!regex.ok()) return Annotate(regex.status(), fields.where());
    out.regex_ = std::move(*regex);
    return out;
  }
  RV_ASSIGN_OR_RETURN(out.literal_, fields.String("String"));
  if (out.literal_.empty()) return fields.Wrong("String", "at least one character");
  return out;
}

absl::Status Needle::ForEachMatch(std::string_view text,
                                  const std::function<void(Regex::Match)>& visit) const {
  if (regex_.has_value()) return regex_->ForEachMatch(text, visit);
  for (size_t at = text.find(literal_); at != std::string_view::npos;
       at = text.find(literal_, at + literal_.size())) {
    visit({at, at + literal_.size()});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReplaceAll(const Needle& pattern, std::string_view text,
                                       std::string_view content) {
  std::string out;
  size_t copied = 0;
  RV_RETURN_IF_ERROR(pattern.ForEachMatch(text, [&](Regex::Match match) {
    if (out.size() > kMaxTextBytes) return;
    out += text.substr(copied, match.start - copied);
    out += content;
    copied = match.end;
  }));
  if (out.size() > kMaxTextBytes) {
    return Refuse(absl::StatusCode::kResourceExhausted,
                  "tokenizer: a replacement makes the text longer than 256 MiB");
  }
  out += text.substr(copied);
  return out;
}

}  // namespace rivulet
