#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "common/io/atomic_file.h"
#include "common/io/file.h"
#include "tests/unit/scratch.h"

namespace {

int file_fsync_error = 0;  // of every fsync of a regular file, while it is not 0

}  // namespace

// In the place of the C library's, for the whole program.
extern "C" int fsync(int fd) {
  struct stat info {};
  if (file_fsync_error != 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
    errno = file_fsync_error;
    return -1;
  }
  return static_cast<int>(syscall(SYS_fsync, fd));
}

namespace rivulet {
namespace {

class AtomicFileFsyncTest : public testing::Test {
 protected:
  void TearDown() override { file_fsync_error = 0; }
  const std::filesystem::path path_ = ScratchFolder() / "a.bin";
};

// Where blocks are allocated late, a full disk or a quota shows at the fsync.
TEST_F(AtomicFileFsyncTest, AFullDiskAtTheFsyncEndsWithTenKeepsTheOldFileAndLeavesNoHalf) {
  ASSERT_TRUE(WriteFileAtomically(path_, "old").ok());
  for (const int error : {ENOSPC, EDQUOT, EFBIG}) {
    file_fsync_error = error;
    const absl::Status full = WriteFileAtomically(path_, "new");
    EXPECT_EQ(full, FileError(path_, "fsync", error));
    EXPECT_EQ(ExitCodeOf(full), ExitCode::kResource);
    EXPECT_EQ(*ReadFile(path_, 9), "old");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path_.parent_path()), {}), 1);
  }
  file_fsync_error = 0;
  ASSERT_TRUE(WriteFileAtomically(path_, "new").ok());
  EXPECT_EQ(*ReadFile(path_, 9), "new");
}

TEST_F(AtomicFileFsyncTest, AnyOtherFailureIsLostData) {
  file_fsync_error = EIO;
  const absl::Status lost = WriteFileAtomically(path_, "new");
  EXPECT_EQ(lost.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(lost.message(), path_.string() + ": fsync: Input/output error");
  EXPECT_FALSE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace rivulet
