#include "coordinator/storage/sqlite_database.h"

#include "coordinator/storage/durable_step.h"

namespace rivulet {
namespace {

constexpr int kApplicationId = 0x52766c31;  // "Rvl1"
constexpr int kSchemaVersion = 5;
constexpr int kLongLogPages = 1000;
constexpr int64_t kHeapLimitBytes = int64_t{256} << 20;

constexpr const char* kSchema = R"sql(
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta(key, value) VALUES('epoch', 0);
CREATE TABLE job(
  position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
  submit_token TEXT UNIQUE, document TEXT NOT NULL, state INTEGER NOT NULL,
  exit_code INTEGER NOT NULL, reason TEXT NOT NULL, submitted_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL, stop_now INTEGER NOT NULL, waiting_ms INTEGER NOT NULL) STRICT;
CREATE TABLE round(
  job TEXT NOT NULL REFERENCES job(id), round INTEGER NOT NULL, attempt INTEGER NOT NULL,
  state INTEGER NOT NULL, eligible TEXT NOT NULL, cohort TEXT NOT NULL, needed INTEGER NOT NULL,
  counted TEXT NOT NULL, remaining_ms INTEGER NOT NULL, opened_ms INTEGER NOT NULL,
  reason TEXT NOT NULL, loss REAL NOT NULL, examples INTEGER NOT NULL, tokens INTEGER NOT NULL,
  bytes_up INTEGER NOT NULL, protocol_bytes_up INTEGER NOT NULL, bytes_down INTEGER NOT NULL,
  bias REAL NOT NULL, milliseconds INTEGER NOT NULL, left_out TEXT NOT NULL,
  PRIMARY KEY(job, round, attempt)) STRICT, WITHOUT ROWID;
CREATE TABLE update_received(
  job TEXT NOT NULL, round INTEGER NOT NULL, attempt INTEGER NOT NULL, client TEXT NOT NULL,
  sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, weight INTEGER NOT NULL, examples INTEGER NOT NULL,
  tokens INTEGER NOT NULL, steps INTEGER NOT NULL, loss REAL NOT NULL, grad_norm REAL NOT NULL,
  PRIMARY KEY(job, round, attempt, client),
  FOREIGN KEY(job, round, attempt) REFERENCES round(job, round, attempt)) STRICT, WITHOUT ROWID;
CREATE TABLE model(
  job TEXT NOT NULL REFERENCES job(id), round INTEGER NOT NULL, parent_sha256 TEXT NOT NULL,
  sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, state_hash TEXT NOT NULL,
  optimizer_sha256 TEXT NOT NULL, log_sha256 TEXT NOT NULL, log_bytes INTEGER NOT NULL,
  log_from INTEGER NOT NULL, PRIMARY KEY(job, round)) STRICT, WITHOUT ROWID;
CREATE TABLE evaluation(
  job TEXT NOT NULL REFERENCES job(id), round INTEGER NOT NULL, done INTEGER NOT NULL,
  clients TEXT NOT NULL, remaining_ms INTEGER NOT NULL,
  PRIMARY KEY(job, round)) STRICT, WITHOUT ROWID;
CREATE TABLE evaluation_report(
  job TEXT NOT NULL REFERENCES job(id), round INTEGER NOT NULL, client TEXT NOT NULL,
  loss_fixed INTEGER NOT NULL, counted INTEGER NOT NULL, correct INTEGER NOT NULL,
  PRIMARY KEY(job, round, client)) STRICT, WITHOUT ROWID;
CREATE TABLE failure(
  job TEXT NOT NULL REFERENCES job(id), round INTEGER NOT NULL, attempt INTEGER NOT NULL,
  client TEXT NOT NULL, code TEXT NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY(job, round, attempt, client)) STRICT, WITHOUT ROWID;
CREATE TABLE secret(
  job TEXT NOT NULL REFERENCES job(id), round INTEGER NOT NULL, attempt INTEGER NOT NULL,
  name TEXT NOT NULL, bytes BLOB NOT NULL,
  PRIMARY KEY(job, round, attempt, name)) STRICT, WITHOUT ROWID;
CREATE TABLE ledger(
  job TEXT NOT NULL REFERENCES job(id), round INTEGER NOT NULL, attempt INTEGER NOT NULL,
  entry TEXT NOT NULL, PRIMARY KEY(job, round, attempt)) STRICT, WITHOUT ROWID;
)sql";

absl::Status Damaged(std::string_view what) {
  return WithExit(Refuse(absl::StatusCode::kDataLoss, "state database: " + std::string(what)),
                  ExitCode::kState);
}

// A refused write (full disk, quota, file size limit: SQLite keeps only ENOSPC apart) was never
// acknowledged and is rolled back; unlike a failed fsync it leaves nothing in doubt.
bool IsFull(int code) { return (code & 0xff) == SQLITE_FULL || code == SQLITE_IOERR_WRITE; }

int NoteLogPages(void* pages, sqlite3*, const char*, int in_log) {
  *static_cast<int*>(pages) = in_log;
  return SQLITE_OK;
}

}  // namespace

absl::Status StatusOfSqlite(int code, std::string_view what) {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return absl::OkStatus();
  const std::string message = std::string(what) + ": " + sqlite3_errstr(code);
  if (IsFull(code)) {
    return Refuse(absl::StatusCode::kResourceExhausted, message, Remedy::kRetryLater);
  }
  switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
      return Refuse(absl::StatusCode::kAlreadyExists, message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Damaged(message);
    case SQLITE_IOERR:
      DieOfLostSync(message);
    default:
      return Refuse(absl::StatusCode::kInternal, message);
  }
}

void Statement::Note(int code) {
  if (bind_error_ == SQLITE_OK) bind_error_ = code;
}

Statement& Statement::Bind(int64_t value) {
  Note(sqlite3_bind_int64(handle_, ++parameter_, value));
  return *this;
}

Statement& Statement::Bind(double value) {
  Note(sqlite3_bind_double(handle_, ++parameter_, value));
  return *this;
}

Statement& Statement::Bind(std::string_view value) {
  Note(sqlite3_bind_text64(handle_, ++parameter_, value.data() ? value.data() : "", value.size(),
                           SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

Statement& Statement::BindBytes(std::string_view value) {
  Note(sqlite3_bind_blob64(handle_, ++parameter_, value.data() ? value.data() : "", value.size(),
                           SQLITE_TRANSIENT));
  return *this;
}

Statement& Statement::BindNames(const std::vector<std::string>& names) {
  std::string lines;
  for (const std::string& name : names) lines += name + '\n';
  return Bind(lines);
}

void Statement::Reset() {
  sqlite3_reset(handle_);
  sqlite3_clear_bindings(handle_);
  parameter_ = column_ = 0;
  bind_error_ = SQLITE_OK;
}

absl::StatusOr<bool> Statement::Next() {
  column_ = 0;
  const int code = bind_error_ != SQLITE_OK ? bind_error_ : sqlite3_step(handle_);
  if (code == SQLITE_ROW) return true;
  absl::Status status = StatusOfSqlite(code, "state database");
  Reset();
  if (!status.ok()) return status;
  return false;
}

absl::Status Statement::Run() {
  absl::StatusOr<bool> row = true;
  while (row.ok() && *row) row = Next();
  return row.status();
}

int64_t Statement::Int() { return sqlite3_column_int64(handle_, column_++); }

double Statement::Real() { return sqlite3_column_double(handle_, column_++); }

std::string Statement::Text() {
  const int column = column_++;
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(handle_, column));
  return text == nullptr
             ? std::string()
             : std::string(text, static_cast<size_t>(sqlite3_column_bytes(handle_, column)));
}

std::string Statement::Bytes() {
  const int column = column_++;
  const void* bytes = sqlite3_column_blob(handle_, column);
  const auto size = static_cast<size_t>(sqlite3_column_bytes(handle_, column));
  return bytes == nullptr ? std::string() : std::string(static_cast<const char*>(bytes), size);
}

std::vector<std::string> Statement::Names() {
  const std::string lines = Text();
  std::vector<std::string> names;
  for (size_t begin = 0, end; (end = lines.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    names.push_back(lines.substr(begin, end - begin));
  }
  return names;
}

struct Database::Kept {
  const char* sql;
  sqlite3_stmt* handle;
  std::unique_ptr<Statement> statement;
};

Database::Database(sqlite3* db) : db_(db) {}

Database::~Database() {
  for (const Kept& kept : kept_) sqlite3_finalize(kept.handle);
  sqlite3_close(db_);
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::filesystem::path& path) {
  sqlite3_hard_heap_limit64(kHeapLimitBytes);
  sqlite3* db = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX |
                    SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);
  std::unique_ptr<Database> database(new Database(db));
  RV_RETURN_IF_ERROR(StatusOfSqlite(code, path.string()));
  RV_RETURN_IF_ERROR(Annotate(database->Configure(), path.string()));
  RV_RETURN_IF_ERROR(Annotate(database->CheckContent(), path.string()));
  return database;
}

absl::Status Database::Configure() {
  for (const auto& [option, value] : {std::pair{SQLITE_DBCONFIG_DEFENSIVE, 1},
                                      {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
                                      {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
                                      {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
                                      {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0}}) {
    RV_RETURN_IF_ERROR(StatusOfSqlite(sqlite3_db_config(db_, option, value, nullptr), "configure"));
  }
  sqlite3_limit(db_, SQLITE_LIMIT_LENGTH, 64 << 20);
  sqlite3_limit(db_, SQLITE_LIMIT_SQL_LENGTH, 100000);
  sqlite3_limit(db_, SQLITE_LIMIT_ATTACHED, 0);
  sqlite3_limit(db_, SQLITE_LIMIT_VARIABLE_NUMBER, 100);
  sqlite3_busy_timeout(db_, 0);
  // The exclusive lock comes first: WAL then needs no shared memory.
  RV_RETURN_IF_ERROR(
      Execute("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
              "PRAGMA foreign_keys=ON; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0; PRAGMA "
              "secure_delete=ON;"));
  // Checkpoints are our own: an automatic one would hide a failed fsync.
  sqlite3_wal_hook(db_, NoteLogPages, &log_pages_);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Database::ReadInt(const char* sql) {
  Statement& statement = Prepared(sql);
  RV_ASSIGN_OR_RETURN(const bool row, statement.Next());
  const int64_t value = row ? statement.Int() : 0;
  statement.Reset();
  return value;
}

absl::Status Database::CheckContent() {
  RV_ASSIGN_OR_RETURN(const int64_t application, ReadInt("PRAGMA application_id"));
  RV_ASSIGN_OR_RETURN(const int64_t version, ReadInt("PRAGMA user_version"));
  RV_ASSIGN_OR_RETURN(const int64_t tables, ReadInt("SELECT count(*) FROM sqlite_schema"));
  if (tables == 0 && application == 0) {
    RV_RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE"));
    RV_RETURN_IF_ERROR(Execute(kSchema));
    const std::string stamp =
        "PRAGMA application_id=1383492657; PRAGMA user_version=" + std::to_string(kSchemaVersion) +
        "; COMMIT";
    return Execute(stamp.c_str());
  }
  if (application != kApplicationId) return Damaged("not a Rivulet database");
  if (version != kSchemaVersion) {
    return WithExit(Refuse(absl::StatusCode::kFailedPrecondition,
                           "schema version: got " + std::to_string(version) + ", want " +
                               std::to_string(kSchemaVersion) + "; " +
                               (version > kSchemaVersion ? "a newer" : "an older") +
                               " coordinator wrote this directory"),
                    ExitCode::kState);
  }
  Statement& check = Prepared("PRAGMA quick_check(1)");
  RV_ASSIGN_OR_RETURN(const bool row, check.Next());
  const std::string verdict = row ? check.Text() : "no answer";
  check.Reset();
  return verdict == "ok" ? absl::OkStatus() : Damaged(verdict);
}

Statement& Database::Prepared(const char* sql) {
  for (Kept& kept : kept_) {
    if (kept.sql == sql) return *kept.statement;
  }
  sqlite3_stmt* handle = nullptr;
  sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &handle, nullptr);
  kept_.push_back({sql, handle, std::make_unique<Statement>(handle)});
  return *kept_.back().statement;
}

absl::Status Database::Execute(const char* sql) {
  return StatusOfSqlite(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr), "state database");
}

absl::Status Database::CheckpointIfLong() {
  if (log_pages_ < kLongLogPages) return absl::OkStatus();
  log_pages_ = 0;
  const int code =
      sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  return StatusOfSqlite(code, "checkpoint");
}

}  // namespace rivulet
