#pragma once

#include <filesystem>
#include <string_view>

#include "common/job/job_spec.h"
#include "common/status.h"
#include "peft/data/record.h"

namespace rivulet {

// Largest data file that is read, and largest single record.
inline constexpr uint64_t kMaxDataFileBytes = uint64_t{4} << 30;
inline constexpr size_t kMaxRecordBytes = 16 << 20;

// Reads one data file as `data.format` says:
//   text   what stands between occurrences of data.separator; the whole file when that is
//          empty. White space around a record is dropped as by Python's str.strip(), empty records
//          are dropped. "\r\n" and "\r" count as "\n".
//   jsonl  one JSON object a line; empty lines are dropped.
//   json   one array of objects.
//   tsv    columns between tabs. The first line names them if one is data.text-field or
//          data.label-field; otherwise there must be two columns, text and label.
// A byte order mark at the start is dropped.
//
// A record is malformed when it is not UTF-8, not the format, above kMaxRecordBytes, lacks a field
// that data.template (or text-field and label-field of a classification) needs, or has a label that
// is not in data.labels. It is an error, or counted when data.skip-malformed allows it.
// Errors: InvalidArgument "<file>:<line>: got ..., want ..." for a malformed record, naming the
// fields present when one is missing, and for a format or template that is unknown or does not fit;
// NotFound, OutOfRange as ReadFile.
absl::StatusOr<RecordList> ReadRecords(const std::filesystem::path& file, const DataSection& data);

// Several files, one after the other.
absl::StatusOr<RecordList> ReadRecords(const std::vector<std::filesystem::path>& files,
                                       const DataSection& data);

}  // namespace rivulet
