#include "common/utf8.h"
#include "peft/data/record_reader.h"
#include "peft/data/template.h"
#include "tests/fuzz/scratch_file.h"

using namespace rivulet;

namespace {

constexpr std::string_view kFormats[] = {"text", "jsonl", "json", "tsv"};
constexpr std::string_view kTemplates[] = {"plain", "alpaca", "dolly", "prompt-completion", "chat"};

}  // namespace

// Format, template, and whether malformed records are counted (a byte), then a data file: refused,
// or records of UTF-8 that their template can render.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  DataSection section;
  section.format = kFormats[data[0] % 4];
  section.template_name = kTemplates[data[0] / 4 % 5];
  section.skip_malformed = data[0] / 20 % 2 == 1;
  section.separator = data[0] / 40 % 2 == 1 ? "\n%\n" : "";
  if (data[0] / 80 % 2 == 1) {
    section.task = "classification";
    section.labels = {"a", "b"};
  }
  const auto file = ScratchFile("data", {reinterpret_cast<const char*>(data) + 1, size - 1});
  const auto list = ReadRecords(file, section);
  if (!list.ok()) return 0;
  Require(section.skip_malformed || list->malformed == 0);
  Require(list->problems.size() <= RecordList::kMaxProblems);
  for (const Record& record : list->records) {
    Require(record.line >= 1);
    for (const auto& [name, value] : record.fields) Require(IsUtf8(name) && IsUtf8(value));
    for (const Message& message : record.messages) Require(IsUtf8(message.content));
    if (section.task == "classification") continue;
    const auto segments = Render(record, section);
    Require(segments.ok());
    for (const Segment& segment : *segments) Require(IsUtf8(segment.text));
  }
  return 0;
}
