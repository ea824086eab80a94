#pragma once

#include <string>
#include <vector>

#include "common/job/job_spec.h"
#include "common/status.h"
#include "peft/data/record.h"

namespace rivulet {

// A stretch of a record's text and whether its tokens count in the loss.
struct Segment {
  std::string text;
  bool counted = true;
};

// The text of a causal-LM record under `data.template`:
//   plain              the field "text" (data.text-field in JSON and TSV), all of it counted
//   alpaca, dolly      instruction, input or context (may be empty), output or response; the
//                      projects' published prompts; the answer counts
//   prompt-completion  prompt and completion, one after the other; the completion counts
//   chat               messages as "<role>: <content>\n"; what the assistant says counts
// Errors: InvalidArgument naming the missing field and those present, or the known templates.
absl::StatusOr<std::vector<Segment>> Render(const Record& record, const DataSection& data);

// The value of a field. Errors: InvalidArgument naming the field and those present.
absl::StatusOr<std::string> FieldOf(const Record& record, const std::string& name);

}  // namespace rivulet
