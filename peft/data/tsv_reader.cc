#include <algorithm>

#include "peft/data/record_reader.h"
#include "peft/data/record_sink.h"
#include "peft/tokenizer/unicode.h"

namespace rivulet {
namespace {

std::vector<std::string> CellsOf(std::string_view row) {
  std::vector<std::string> cells;
  while (true) {
    const size_t tab = std::min(row.find('\t'), row.size());
    cells.emplace_back(row.substr(0, tab));
    if (tab == row.size()) return cells;
    row.remove_prefix(tab + 1);
  }
}

bool NamesColumns(const std::vector<std::string>& cells, const DataSection& data) {
  return std::any_of(cells.begin(), cells.end(), [&](const std::string& cell) {
    return cell == data.text_field || cell == data.label_field;
  });
}

absl::Status TakeRow(std::string_view row, const std::vector<std::string>& columns, int64_t line,
                     RecordSink& sink) {
  if (!IsUtf8(row)) {
    return sink.Reject(line, "got bytes that are not UTF-8");
  }
  if (row.size() > kMaxRecordBytes) {
    return sink.Reject(line, "got a record of " + std::to_string(row.size()) +
                                 " bytes, want at most " + std::to_string(kMaxRecordBytes));
  }
  std::vector<std::string> cells = CellsOf(row);
  if (cells.size() != columns.size()) {
    return sink.Reject(line, "got " + std::to_string(cells.size()) + " columns, want " +
                                 std::to_string(columns.size()));
  }
  Record record;
  for (size_t column = 0; column < cells.size(); ++column) {
    record.fields[columns[column]] = std::move(cells[column]);
  }
  return sink.Accept(std::move(record), line);
}

}  // namespace

absl::Status ReadTsv(std::string_view text, RecordSink& sink) {
  std::vector<std::string> columns;
  for (int64_t line = 1; !text.empty(); ++line) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view row = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (row.ends_with('\r')) row.remove_suffix(1);
    if (row.empty()) continue;
    if (columns.empty()) {
      columns = CellsOf(row);
      if (NamesColumns(columns, sink.data())) continue;
      columns = {sink.data().text_field, sink.data().label_field};
    }
    RV_RETURN_IF_ERROR(TakeRow(row, columns, line, sink));
  }
  return absl::OkStatus();
}

}  // namespace rivulet
