#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace rivulet {

// What an SQLite result code means to us: OK for SQLITE_OK, _ROW and _DONE; AlreadyExists for a
// constraint; ResourceExhausted (kRetryLater) for a full disk; DataLoss (exit 8) for a damaged
// file. Does not return after a failed fsync or another I/O error: the database then may hold less
// than it said.
absl::Status StatusOfSqlite(int code, std::string_view what);

// One prepared statement of static text, used from one thread. Parameters and columns are taken in
// order. Call Reset (or Run) before the next use.
class Statement {
 public:
  Statement() = default;
  explicit Statement(sqlite3_stmt* handle) : handle_(handle) {}

  Statement& Bind(int64_t value);
  Statement& Bind(double value);
  Statement& Bind(std::string_view value);
  Statement& BindBytes(std::string_view value);
  // One name a line: names have no control characters.
  Statement& BindNames(const std::vector<std::string>& names);

  // Runs to the end and resets.
  absl::Status Run();
  // true: a row is there; false: the end, and the statement is reset.
  absl::StatusOr<bool> Next();
  void Reset();

  int64_t Int();
  double Real();
  std::string Text();
  std::string Bytes();
  std::vector<std::string> Names();

 private:
  void Note(int code);

  sqlite3_stmt* handle_ = nullptr;
  int parameter_ = 0;
  int column_ = 0;
  int bind_error_ = SQLITE_OK;
};

// The one connection to the one file, with the settings that durability and hostile files ask for
// (WAL, synchronous=FULL, exclusive lock, no extensions, views or triggers). Not thread safe.
class Database {
 public:
  // Creates the schema in a new file. Errors, with exit code 8: DataLoss (damaged, or not ours),
  // FailedPrecondition (schema of another version).
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::filesystem::path& path);
  ~Database();

  // `sql` must be a string literal: it is prepared once and kept by its address.
  Statement& Prepared(const char* sql);
  absl::Status Execute(const char* sql);
  int Changes() const { return sqlite3_changes(db_); }
  bool InTransaction() const { return sqlite3_get_autocommit(db_) == 0; }
  // Moves the log into the file once it has grown; between commits only.
  absl::Status CheckpointIfLong();

 private:
  struct Kept;
  explicit Database(sqlite3* db);
  absl::Status Configure();
  absl::Status CheckContent();
  absl::StatusOr<int64_t> ReadInt(const char* sql);

  sqlite3* db_;
  int log_pages_ = 0;
  std::vector<Kept> kept_;
};

}  // namespace rivulet
