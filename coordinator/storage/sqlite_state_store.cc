#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "common/io/file.h"
#include "coordinator/storage/sqlite_rows.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

// The advisory lock that makes a state directory ours until the process ends.
class DirectoryLock {
 public:
  static absl::StatusOr<DirectoryLock> Take(const fs::path& directory) {
    const fs::path path = directory / "lock";
    DirectoryLock lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (lock.fd_ < 0) return FileError(path, "open", errno);
    if (flock(lock.fd_, LOCK_EX | LOCK_NB) == 0) return lock;
    return WithExit(
        Refuse(absl::StatusCode::kFailedPrecondition,
               directory.string() + ": another coordinator uses this state directory; stop it, or "
                                    "choose another directory"),
        ExitCode::kState);
  }
  ~DirectoryLock() {
    if (fd_ >= 0) close(fd_);
  }
  DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  DirectoryLock& operator=(DirectoryLock&&) = delete;

 private:
  explicit DirectoryLock(int fd) : fd_(fd) {}
  int fd_;
};

// One thread owns the connection. Whatever waits when it is free is committed together: while one
// fsync runs, the next group gathers, so that no artificial delay is needed.
class SqliteStateStore : public StateStore {
 public:
  SqliteStateStore(DirectoryLock lock, std::unique_ptr<Database> db, DurableStep step)
      : lock_(std::move(lock)),
        db_(std::move(db)),
        step_(std::move(step)),
        writer_([this] { Serve(); }) {}

  ~SqliteStateStore() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    wake_.notify_all();
    writer_.join();
  }

  absl::StatusOr<uint64_t> NextEpoch() override {
    uint64_t epoch = 0;
    RV_RETURN_IF_ERROR(Enqueue([&epoch](Database& db) -> absl::Status {
      RV_ASSIGN_OR_RETURN(epoch, IncrementEpoch(db));
      return absl::OkStatus();
    }));
    return epoch;
  }

  absl::Status Commit(const std::vector<Write>& writes) override {
    return Enqueue([&writes](Database& db) {
      for (const Write& write : writes) RV_RETURN_IF_ERROR(ApplyWrite(db, write));
      return absl::OkStatus();
    });
  }

  absl::StatusOr<StoredState> Load() override {
    StoredState all;
    RV_RETURN_IF_ERROR(Enqueue([&all](Database& db) -> absl::Status {
      RV_ASSIGN_OR_RETURN(all, LoadRows(db));
      return absl::OkStatus();
    }));
    return all;
  }

 private:
  struct Pending {
    std::function<absl::Status(Database&)> work;
    absl::Status result;
    bool done = false;
  };

  absl::Status Enqueue(std::function<absl::Status(Database&)> work) {
    Pending mine{std::move(work), absl::OkStatus()};
    std::unique_lock lock(mutex_);
    queue_.push_back(&mine);
    wake_.notify_one();
    answered_.wait(lock, [&mine] { return mine.done; });
    return mine.result;
  }

  void Serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return ending_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const std::vector<Pending*> group = std::exchange(queue_, {});
      lock.unlock();
      CommitGroup(group);
      lock.lock();
      for (Pending* pending : group) pending->done = true;
      answered_.notify_all();
    }
  }

  void CommitGroup(const std::vector<Pending*>& group) {
    absl::Status all = db_->Execute("BEGIN IMMEDIATE");
    for (Pending* pending : group) {
      if (all.ok()) all = RunOne(*pending);
    }
    if (all.ok()) all = Ask(step_, "state.commit");
    if (all.ok()) all = db_->Execute("COMMIT");
    if (all.ok()) all = Ask(step_, "state.committed");
    if (!all.ok()) FailAll(group, all);
    // A full disk only leaves the log longer; the next commit says so itself.
    (void)db_->CheckpointIfLong();
  }

  // One caller's writes, undone alone when they fail. An error means that the whole group is lost.
  absl::Status RunOne(Pending& pending) {
    RV_RETURN_IF_ERROR(db_->Execute("SAVEPOINT one"));
    pending.result = pending.work(*db_);
    if (!db_->InTransaction()) return pending.result;  // SQLite gave up the group: disk full
    if (!pending.result.ok()) RV_RETURN_IF_ERROR(db_->Execute("ROLLBACK TO one"));
    return db_->Execute("RELEASE one");
  }

  void FailAll(const std::vector<Pending*>& group, const absl::Status& cause) {
    if (db_->InTransaction()) (void)db_->Execute("ROLLBACK");
    if (cause.code() != absl::StatusCode::kResourceExhausted)
      DieOfLostSync(std::string(cause.message()));
    // Refusals too: what they were refused for ("already stored") is gone with the group.
    for (Pending* pending : group) pending->result = cause;
  }

  DirectoryLock lock_;
  std::unique_ptr<Database> db_;
  DurableStep step_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable answered_;
  std::vector<Pending*> queue_;
  bool ending_ = false;
  std::thread writer_;  // last: it uses all of the above
};

absl::StatusOr<std::unique_ptr<StateStore>> Open(const fs::path& directory,
                                                 DurableStep before_step) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return FileError(directory, "create", error.value());
  // SQLite follows no link anywhere in a path; a folder above may well be one (/var/lib on a data
  // disk). The database itself must not be.
  const fs::path real = fs::canonical(directory, error);
  if (error) return FileError(directory, "resolve", error.value());
  RV_ASSIGN_OR_RETURN(DirectoryLock lock, DirectoryLock::Take(real));
  RV_ASSIGN_OR_RETURN(std::unique_ptr<Database> db, Database::Open(real / "rivulet.db"));
  RV_RETURN_IF_ERROR(SyncDirectory(real));
  return std::make_unique<SqliteStateStore>(std::move(lock), std::move(db), std::move(before_step));
}

}  // namespace

absl::StatusOr<std::unique_ptr<StateStore>> OpenSqliteStateStore(const fs::path& directory,
                                                                 DurableStep before_step) {
  absl::StatusOr<std::unique_ptr<StateStore>> store = Open(directory, std::move(before_step));
  if (!store.ok()) return WithExit(store.status(), ExitCode::kState);
  return store;
}

}  // namespace rivulet
