#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace rivulet {

// One turn of a chat.
struct Message {
  std::string role;  // system | user | assistant
  std::string content;
};

// One record of a data file, before templates and tokenising. All text is valid UTF-8.
struct Record {
  // Plain text has the one field "text"; JSON and TSV have the fields of the file (numbers and
  // booleans as the file prints them; nested values other than `messages` are left out).
  std::map<std::string, std::string> fields;
  std::vector<Message> messages;  // of a chat record
  std::shared_ptr<const std::filesystem::path> file;
  int64_t line = 0;  // where the record begins, from 1

  // "<file>:<line>".
  std::string Where() const;
};

// What was read, in file order, and what was skipped because the job allows it.
struct RecordList {
  std::vector<Record> records;
  int64_t malformed = 0;
  std::vector<std::string> problems;  // "<file>:<line>: got ..., want ..." of the first few

  static constexpr size_t kMaxProblems = 20;
  void Append(RecordList other);
};

}  // namespace rivulet
