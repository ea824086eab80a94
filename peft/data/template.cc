#include "peft/data/template.h"

#include <span>

namespace rivulet {
namespace {

using Segments = absl::StatusOr<std::vector<Segment>>;

// Stanford Alpaca's prompts.
constexpr char kAlpacaWithInput[] =
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n";
constexpr char kAlpaca[] =
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n";

std::string Present(const Record& record) {
  std::string names;
  for (const auto& [name, value] : record.fields) names += (names.empty() ? "" : ", ") + name;
  if (!record.messages.empty()) names += names.empty() ? "messages" : ", messages";
  return names.empty() ? "none" : names;
}

absl::Status Missing(const Record& record, const std::string& name) {
  return Refuse(absl::StatusCode::kInvalidArgument,
                "field '" + name + "' is missing; fields present: " + Present(record));
}

// The first of several names that the record has; null when it has none.
const std::string* FirstOf(const Record& record, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto found = record.fields.find(name);
    if (found != record.fields.end()) return &found->second;
  }
  return nullptr;
}

Segments Plain(const Record& record, const DataSection& data) {
  const std::string name = data.format == "text" ? "text" : data.text_field;
  RV_ASSIGN_OR_RETURN(std::string text, FieldOf(record, name));
  return std::vector<Segment>{{std::move(text), true}};
}

struct Instruction {
  std::string request;
  std::string context;  // may be empty
  std::string answer;
};

absl::StatusOr<Instruction> ReadInstruction(const Record& record, const char* answer_name) {
  Instruction out;
  RV_ASSIGN_OR_RETURN(out.request, FieldOf(record, "instruction"));
  if (const std::string* context = FirstOf(record, {"input", "context"})) out.context = *context;
  const std::string* answer = FirstOf(record, {"output", "response"});
  if (answer == nullptr) return Missing(record, answer_name);
  out.answer = *answer;
  return out;
}

Segments Alpaca(const Record& record, const DataSection&) {
  RV_ASSIGN_OR_RETURN(Instruction task, ReadInstruction(record, "output"));
  std::string prompt = task.context.empty() ? kAlpaca : kAlpacaWithInput;
  prompt += "### Instruction:\n" + task.request + "\n\n";
  if (!task.context.empty()) prompt += "### Input:\n" + task.context + "\n\n";
  prompt += "### Response:\n";
  return std::vector<Segment>{{std::move(prompt), false}, {std::move(task.answer), true}};
}

// Databricks Dolly's prompt, without its end key: the eos token says the same.
Segments Dolly(const Record& record, const DataSection&) {
  RV_ASSIGN_OR_RETURN(Instruction task, ReadInstruction(record, "response"));
  std::string prompt = std::string(kAlpaca) + "### Instruction:\n" + task.request + "\n\n";
  if (!task.context.empty()) prompt += "Input:\n" + task.context + "\n\n";
  prompt += "### Response:\n";
  return std::vector<Segment>{{std::move(prompt), false}, {std::move(task.answer), true}};
}

Segments PromptCompletion(const Record& record, const DataSection&) {
  RV_ASSIGN_OR_RETURN(std::string prompt, FieldOf(record, "prompt"));
  RV_ASSIGN_OR_RETURN(std::string completion, FieldOf(record, "completion"));
  return std::vector<Segment>{{std::move(prompt), false}, {std::move(completion), true}};
}

Segments Chat(const Record& record, const DataSection&) {
  if (record.messages.empty()) return Missing(record, "messages");
  std::vector<Segment> segments;
  std::string prompt;  // gathered until the assistant speaks
  for (const Message& message : record.messages) {
    prompt += message.role + ": ";
    if (message.role != "assistant") {
      prompt += message.content + "\n";
      continue;
    }
    segments.push_back({std::move(prompt), false});
    segments.push_back({message.content + "\n", true});
    prompt.clear();
  }
  if (segments.empty()) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "messages: got no message of role assistant, want at least one");
  }
  return segments;  // what follows the last answer has no loss and is left out
}

struct NamedTemplate {
  const char* name;
  Segments (*render)(const Record&, const DataSection&);
};
constexpr NamedTemplate kTemplates[] = {
    {"plain", Plain}, {"alpaca", Alpaca}, {"dolly", Dolly}, {"prompt-completion", PromptCompletion},
    {"chat", Chat},
};

}  // namespace

absl::StatusOr<std::string> FieldOf(const Record& record, const std::string& name) {
  const auto found = record.fields.find(name);
  if (found == record.fields.end()) return Missing(record, name);
  return found->second;
}

absl::StatusOr<std::vector<Segment>> Render(const Record& record, const DataSection& data) {
  std::string known;
  for (const NamedTemplate& entry : kTemplates) {
    if (data.template_name == entry.name) return entry.render(record, data);
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  return Refuse(absl::StatusCode::kInvalidArgument,
                "data.template: got \"" + data.template_name + "\", want one of " + known);
}

}  // namespace rivulet
