#include <algorithm>

#include "peft/data/record_reader.h"
#include "peft/data/record_sink.h"
#include "peft/tokenizer/json_members.h"

namespace rivulet {
namespace {

constexpr JsonLimits kRecordLimits{.bytes = kMaxRecordBytes, .depth = 32, .values = 100'000};
constexpr size_t kMaxMessages = 256;

absl::Status Malformed(std::string_view message) {
  return Refuse(absl::StatusCode::kInvalidArgument, message);
}

absl::StatusOr<std::vector<Message>> ReadMessages(const Json& list) {
  if (!list.is_array() || list.empty() || list.size() > kMaxMessages) {
    return Malformed("messages: want an array of 1.." + std::to_string(kMaxMessages));
  }
  std::vector<Message> messages;
  for (const Json& item : list) {
    const JsonMembers fields(item, "messages[" + std::to_string(messages.size()) + "]");
    Message message;
    RV_ASSIGN_OR_RETURN(message.role, fields.String("role"));
    RV_ASSIGN_OR_RETURN(message.content, fields.String("content"));
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      return fields.Wrong("role", "system, user or assistant");
    }
    messages.push_back(std::move(message));
  }
  return messages;
}

absl::StatusOr<Record> ParseRecord(std::string_view text) {
  RV_ASSIGN_OR_RETURN(const Json object, ParseJson(text, kRecordLimits));
  if (!object.is_object()) {
    return Malformed(std::string("got ") + object.type_name() + ", want an object");
  }
  Record record;
  for (const auto& [key, value] : object.items()) {
    if (value.is_string()) {
      record.fields[key] = value.get<std::string>();
    } else if (value.is_number() || value.is_boolean()) {
      record.fields[key] = value.dump();
    } else if (key == "messages") {
      RV_ASSIGN_OR_RETURN(record.messages, ReadMessages(value));
    }
  }
  return record;
}

absl::Status TakeObject(std::string_view text, int64_t line, RecordSink& sink) {
  auto record = ParseRecord(text);
  if (record.ok()) return sink.Accept(std::move(*record), line);
  const auto why = record.status().message();
  return sink.Reject(line, std::string_view(why.data(), why.size()));
}

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// Walks the top-level array and finds where each element begins and ends, so that an element is
// reported with its line and one that is malformed does not take the others with it.
class ArrayWalk {
 public:
  ArrayWalk(std::string_view text, RecordSink& sink) : text_(text), sink_(sink) {}

  absl::Status Run() {
    SkipBlank();
    if (Peek() != '[') return sink_.Reject(line_, "want a JSON array");
    ++at_;
    SkipBlank();
    if (Peek() == ']') return End();
    while (true) {
      SkipBlank();
      const size_t start = at_;
      const int64_t line = line_;
      SkipElement();
      RV_RETURN_IF_ERROR(TakeObject(text_.substr(start, at_ - start), line, sink_));
      if (Peek() == ']') return End();
      if (Peek() != ',') return sink_.Reject(line_, "the array ends before its ']'");
      ++at_;
    }
  }

 private:
  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  absl::Status End() {
    ++at_;
    SkipBlank();
    if (at_ == text_.size()) return absl::OkStatus();
    return sink_.Reject(line_, "got text after the array");
  }

  void SkipBlank() {
    for (; at_ < text_.size() && IsBlank(text_.substr(at_, 1)); ++at_) line_ += text_[at_] == '\n';
  }

  // Up to the ',' or ']' that ends the element at this level.
  void SkipElement() {
    int64_t depth = 0;
    bool quoted = false;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      line_ += c == '\n';
      if (quoted) {
        if (c == '\\') {
          ++at_;
        } else if (c == '"') {
          quoted = false;
        }
        continue;
      }
      if (depth == 0 && (c == ',' || c == ']')) return;
      quoted = c == '"';
      depth += c == '{' || c == '[';
      depth -= c == '}' || c == ']';
    }
    at_ = std::min(at_, text_.size());
  }

  std::string_view text_;
  RecordSink& sink_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

absl::Status ReadJsonLines(std::string_view text, RecordSink& sink) {
  int64_t line = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view row = text.substr(0, end);
    ++line;
    if (!IsBlank(row)) RV_RETURN_IF_ERROR(TakeObject(row, line, sink));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return absl::OkStatus();
}

absl::Status ReadJsonArray(std::string_view text, RecordSink& sink) {
  return ArrayWalk(text, sink).Run();
}

}  // namespace rivulet
