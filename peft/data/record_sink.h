#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/job/job_spec.h"
#include "common/status.h"
#include "peft/data/record.h"

namespace rivulet {

// Collects the records of one file: checks each one against the job, and counts or refuses those
// that are malformed. Not thread safe.
class RecordSink {
 public:
  // `data` must outlive this.
  RecordSink(const std::filesystem::path& file, const DataSection& data);

  // Errors: the first malformed record's when the job does not allow them.
  absl::Status Accept(Record record, int64_t line);
  absl::Status Reject(int64_t line, std::string_view why);
  const DataSection& data() const { return data_; }
  RecordList Take() { return std::move(list_); }

 private:
  std::shared_ptr<const std::filesystem::path> file_;
  const DataSection& data_;
  RecordList list_;
};

// The formats; `text` is a whole file without byte order mark.
absl::Status ReadText(std::string_view text, RecordSink& sink);
absl::Status ReadJsonLines(std::string_view text, RecordSink& sink);
absl::Status ReadJsonArray(std::string_view text, RecordSink& sink);
absl::Status ReadTsv(std::string_view text, RecordSink& sink);

}  // namespace rivulet
