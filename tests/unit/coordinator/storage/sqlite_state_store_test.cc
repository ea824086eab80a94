#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "coordinator/storage/state_store.h"
#include "tests/unit/in_child.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

Write Job(const std::string& id, std::string document = "{}") {
  JobRecord job;
  job.id = id;
  job.document = std::move(document);
  return PutJob{job};
}

TEST(SqliteStateStore, ASecondCoordinatorOnTheDirectoryIsRefused) {
  const fs::path directory = Scratch();
  const auto first = OpenSqliteStateStore(directory);
  ASSERT_TRUE(first.ok());
  const absl::Status second = OpenSqliteStateStore(directory).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ExitCodeOf(second), ExitCode::kState);
  EXPECT_NE(second.message().find("another coordinator"), std::string_view::npos);
  EXPECT_EQ(InChild([&] {
              return static_cast<int>(ExitCodeOf(OpenSqliteStateStore(directory).status()));
            }),
            8);
}

TEST(SqliteStateStore, TheLockGoesWithItsOwner) {
  const fs::path directory = Scratch();
  { ASSERT_TRUE(OpenSqliteStateStore(directory).ok()); }
  EXPECT_TRUE(OpenSqliteStateStore(directory).ok());
}

TEST(SqliteStateStore, ADirectoryUnderALinkIsOpenedAndADatabaseThatIsOneIsNot) {
  const fs::path directory = Scratch();
  fs::create_directories(directory / "disk");
  fs::create_directory_symlink(directory / "disk", directory / "link");
  {
    const auto store = OpenSqliteStateStore(directory / "link" / "state");
    ASSERT_TRUE(store.ok()) << store.status();
    EXPECT_EQ(OpenSqliteStateStore(directory / "disk" / "state").status().code(),
              absl::StatusCode::kFailedPrecondition);  // the same place
  }
  fs::create_directories(directory / "other");
  fs::create_symlink(directory / "disk" / "state" / "rivulet.db",
                     directory / "other" / "rivulet.db");
  EXPECT_EQ(ExitCodeOf(OpenSqliteStateStore(directory / "other").status()), ExitCode::kState);
}

TEST(SqliteStateStore, EveryErrorOfOpeningEndsWithEight) {
  const fs::path directory = Scratch();
  fs::create_directories(directory);
  std::ofstream(directory / "file") << "no folder";
  EXPECT_EQ(ExitCodeOf(OpenSqliteStateStore(directory / "file").status()), ExitCode::kState);
  EXPECT_EQ(ExitCodeOf(OpenSqliteStateStore(directory / "file" / "x").status()), ExitCode::kState);
  fs::create_directories(directory / "state" / "lock");
  EXPECT_EQ(ExitCodeOf(OpenSqliteStateStore(directory / "state").status()), ExitCode::kState);
}

TEST(SqliteStateStore, RowsAndEpochOutliveTheProcess) {
  const fs::path directory = Scratch();
  ASSERT_EQ(InChild([&] {
              auto store = OpenSqliteStateStore(directory);
              if (!store.ok() || *(*store)->NextEpoch() != 1) return 1;
              if (!(*store)->Commit({Job("j")}).ok()) return 2;
              raise(SIGKILL);
              return 3;
            }),
            128 + SIGKILL);
  const auto store = OpenSqliteStateStore(directory);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(*(*store)->NextEpoch(), 2u);
  EXPECT_EQ((*store)->Load()->jobs.size(), 1u);
}

TEST(SqliteStateStore, ADyingCommitLeavesNothingOfItself) {
  const fs::path directory = Scratch();
  ASSERT_EQ(InChild([&] {
              int commits = 0;
              auto store = OpenSqliteStateStore(directory, [&](std::string_view step) {
                if (step == "state.commit" && ++commits == 2) raise(SIGKILL);
                return absl::OkStatus();
              });
              (void)(*store)->Commit({Job("first")});
              (void)(*store)->Commit({Job("second")});
              return 0;
            }),
            128 + SIGKILL);
  const auto store = OpenSqliteStateStore(directory);
  const StoredState all = *(*store)->Load();
  ASSERT_EQ(all.jobs.size(), 1u);
  EXPECT_EQ(all.jobs[0].id, "first");
}

TEST(SqliteStateStore, AnotherSchemaIsRefusedAndNamed) {
  const fs::path directory = Scratch();
  { ASSERT_TRUE(OpenSqliteStateStore(directory).ok()); }
  const auto refusal = [&](const char* pragma) {
    sqlite3* db = nullptr;
    EXPECT_EQ(sqlite3_open((directory / "rivulet.db").c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, pragma, nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(db);
    const absl::Status status = OpenSqliteStateStore(directory).status();
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kState);
    return std::string(status.message());
  };
  EXPECT_NE(refusal("PRAGMA user_version = 6").find("schema version: got 6, want 5; a newer"),
            std::string::npos);
  EXPECT_NE(refusal("PRAGMA user_version = 1").find("schema version: got 1, want 5; an older"),
            std::string::npos);
}

TEST(SqliteStateStore, AForeignOrDamagedFileIsRefused) {
  const fs::path directory = Scratch();
  fs::create_directories(directory);
  std::ofstream(directory / "rivulet.db") << std::string(8192, 'x');
  const absl::Status rubbish = OpenSqliteStateStore(directory).status();
  EXPECT_EQ(rubbish.code(), absl::StatusCode::kDataLoss) << rubbish;
  EXPECT_EQ(ExitCodeOf(rubbish), ExitCode::kState);
}

TEST(SqliteStateStore, AFlippedPageIsFoundAtOpen) {
  const fs::path directory = Scratch();
  {
    const auto store = OpenSqliteStateStore(directory);
    for (int row = 0; row < 200; ++row) {
      ASSERT_TRUE((*store)->Commit({Job("job" + std::to_string(row), std::string(400, 'd'))}).ok());
    }
  }
  std::fstream file(directory / "rivulet.db", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(0, std::ios::end);
  const auto size = static_cast<int64_t>(file.tellp());
  ASSERT_GT(size, 65536);
  for (int64_t page = size / 2 / 4096 * 4096; page < size; page += 4096) {
    file.seekp(page);
    file << std::string(100, '\xff');  // every page's header and cell pointers
  }
  file.close();
  const absl::Status status = OpenSqliteStateStore(directory).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kState);
}

TEST(SqliteStateStore, AFullDiskRefusesWithoutLosingAndWorkResumes) {
  const fs::path directory = Scratch();
  bool full = false;
  const auto store = OpenSqliteStateStore(directory, [&](std::string_view step) {
    return full && step == "state.commit"
               ? Refuse(absl::StatusCode::kResourceExhausted, "disk full")
               : absl::OkStatus();
  });
  ASSERT_TRUE((*store)->Commit({Job("first")}).ok());
  full = true;
  const absl::Status refused = (*store)->Commit({Job("second")});
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  full = false;
  EXPECT_EQ((*store)->Load()->jobs.size(), 1u);
  EXPECT_TRUE((*store)->Commit({Job("second")}).ok());
  EXPECT_EQ((*store)->Load()->jobs.size(), 2u);
}

// "Already stored" acknowledges: it must not outlive the commit that would have stored the row.
TEST(SqliteStateStore, ADuplicateOfARowThatALostGroupHeldIsNotAcknowledged) {
  bool full = false;
  const auto store = OpenSqliteStateStore(Scratch(), [&](std::string_view step) {
    return full && step == "state.commit"
               ? Refuse(absl::StatusCode::kResourceExhausted, "disk full")
               : absl::OkStatus();
  });
  EXPECT_EQ((*store)->Commit({Job("j"), Job("j")}).code(), absl::StatusCode::kAlreadyExists);
  full = true;
  EXPECT_EQ((*store)->Commit({Job("j"), Job("j")}).code(), absl::StatusCode::kResourceExhausted);
}

// A file size limit makes the kernel itself refuse the write (EFBIG), as a full disk does.
TEST(SqliteStateStore, TheKernelsOwnRefusalToWriteIsSurvived) {
  const fs::path directory = Scratch();
  const int verdict = InChild([&] {
    signal(SIGXFSZ, SIG_IGN);
    auto store = OpenSqliteStateStore(directory);
    if (!store.ok() || !(*store)->Commit({Job("first")}).ok()) return 1;
    const rlimit limit{200000, RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &limit);
    const absl::Status refused = (*store)->Commit({Job("big", std::string(1 << 20, 'd'))});
    if (refused.code() != absl::StatusCode::kResourceExhausted) return 2;
    if (RemedyOf(refused) != Remedy::kRetryLater) return 3;
    const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &none);
    if ((*store)->Load()->jobs.size() != 1) return 4;
    return (*store)->Commit({Job("big", std::string(1 << 20, 'd'))}).ok() ? 0 : 5;
  });
  EXPECT_EQ(verdict, 0);
  const auto again = OpenSqliteStateStore(directory);
  EXPECT_EQ((*again)->Load()->jobs.size(), 2u);
}

TEST(SqliteStateStore, AFailedFsyncStopsTheProcess) {
  const fs::path directory = Scratch();
  const int verdict = InChild([&] {
    auto store = OpenSqliteStateStore(directory, [](std::string_view step) {
      return step == "state.commit" ? Refuse(absl::StatusCode::kDataLoss, "fsync: EIO")
                                    : absl::OkStatus();
    });
    (void)(*store)->Commit({Job("j")});
    return 0;
  });
  EXPECT_EQ(verdict, 128 + SIGABRT);
}

TEST(SqliteStateStore, TheLogIsFoldedBackWhileItRuns) {
  const fs::path directory = Scratch();
  const auto store = OpenSqliteStateStore(directory);
  for (int row = 0; row < 60; ++row) {
    ASSERT_TRUE((*store)->Commit({Job(std::to_string(row), std::string(300000, 'd'))}).ok());
  }
  EXPECT_LT(fs::file_size(directory / "rivulet.db-wal"), 8u << 20);  // 18 MB were written
}

}  // namespace
}  // namespace rivulet
