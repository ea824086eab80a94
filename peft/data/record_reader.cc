#include "peft/data/record_reader.h"

#include <algorithm>

#include "common/io/file.h"
#include "peft/data/record_sink.h"
#include "peft/data/template.h"

namespace rivulet {
namespace {

struct NamedFormat {
  const char* name;
  absl::Status (*read)(std::string_view text, RecordSink& sink);
};
constexpr NamedFormat kFormats[] = {
    {"text", ReadText},
    {"jsonl", ReadJsonLines},
    {"json", ReadJsonArray},
    {"tsv", ReadTsv},
};

absl::StatusOr<const NamedFormat*> FormatOf(const DataSection& data) {
  if (data.format == "text" && (data.template_name != "plain" || data.task != "causal-lm")) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "data.format: got \"text\" with data.template \"" + data.template_name +
                      "\" and data.task \"" + data.task +
                      "\"; text has no fields, want template plain and task causal-lm");
  }
  for (const NamedFormat& format : kFormats) {
    if (data.format == format.name) return &format;
  }
  return Refuse(absl::StatusCode::kInvalidArgument,
                "data.format: got \"" + data.format + "\", want one of text, jsonl, json, tsv");
}

// What the job needs of one record, before any tokenising.
absl::Status CheckRecord(const Record& record, const DataSection& data) {
  if (data.task != "classification") return Render(record, data).status();
  RV_RETURN_IF_ERROR(FieldOf(record, data.text_field).status());
  RV_ASSIGN_OR_RETURN(const std::string label, FieldOf(record, data.label_field));
  const auto& known = data.labels;
  if (known.empty() || std::find(known.begin(), known.end(), label) != known.end()) {
    return absl::OkStatus();
  }
  std::string names;
  for (const std::string& name : known) names += (names.empty() ? "" : ", ") + name;
  return Refuse(absl::StatusCode::kInvalidArgument,
                data.label_field + ": got '" + label + "', want one of " + names);
}

}  // namespace

std::string Record::Where() const {
  return (file == nullptr ? "?" : file->string()) + ":" + std::to_string(line);
}

void RecordList::Append(RecordList other) {
  malformed += other.malformed;
  for (Record& record : other.records) records.push_back(std::move(record));
  for (std::string& problem : other.problems) {
    if (problems.size() < kMaxProblems) problems.push_back(std::move(problem));
  }
}

RecordSink::RecordSink(const std::filesystem::path& file, const DataSection& data)
    : file_(std::make_shared<const std::filesystem::path>(file)), data_(data) {}

absl::Status RecordSink::Accept(Record record, int64_t line) {
  const absl::Status fits = CheckRecord(record, data_);
  if (!fits.ok())
    return Reject(line, std::string_view(fits.message().data(), fits.message().size()));
  record.file = file_;
  record.line = line;
  list_.records.push_back(std::move(record));
  return absl::OkStatus();
}

absl::Status RecordSink::Reject(int64_t line, std::string_view why) {
  const std::string problem =
      file_->string() + ":" + std::to_string(line) + ": " + std::string(why);
  if (!data_.skip_malformed) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  problem + " (data.skip-malformed = true counts such records and goes on)");
  }
  ++list_.malformed;
  if (list_.problems.size() < RecordList::kMaxProblems) list_.problems.push_back(problem);
  return absl::OkStatus();
}

absl::StatusOr<RecordList> ReadRecords(const std::filesystem::path& file, const DataSection& data) {
  RV_ASSIGN_OR_RETURN(const NamedFormat* const format, FormatOf(data));
  RV_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file, kMaxDataFileBytes));
  std::string_view text = bytes;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  RecordSink sink(file, data);
  RV_RETURN_IF_ERROR(format->read(text, sink));
  return sink.Take();
}

absl::StatusOr<RecordList> ReadRecords(const std::vector<std::filesystem::path>& files,
                                       const DataSection& data) {
  RecordList all;
  for (const std::filesystem::path& file : files) {
    RV_ASSIGN_OR_RETURN(RecordList list, ReadRecords(file, data));
    all.Append(std::move(list));
  }
  return all;
}

}  // namespace rivulet
