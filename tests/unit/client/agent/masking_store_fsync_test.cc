#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "client/agent/masking_store.h"
#include "tests/unit/scratch.h"

namespace {

// How many calls of fsync on a directory succeed before one fails; negative: all do.
int syncs_left = -1;

}  // namespace

// In the place of the C library's, for the whole program.
extern "C" int fsync(int fd) {
  struct stat info {};
  if (syncs_left >= 0 && fstat(fd, &info) == 0 && S_ISDIR(info.st_mode) && syncs_left-- == 0) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(syscall(SYS_fsync, fd));
}

namespace rivulet {
namespace {

using secagg::LedgerTable;

class MaskingStoreFsyncTest : public testing::Test {
 protected:
  void TearDown() override { syncs_left = -1; }
  std::unique_ptr<MaskingStore> Open() {
    auto store = MaskingStore::Open(folder_);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  static void ExpectRefusesAll(MaskingStore& store, secagg::RoundLedger& ledger) {
    EXPECT_EQ(ledger.PutOnce(LedgerTable::kRevealed, "k", "v").status().code(),
              absl::StatusCode::kDataLoss);
    EXPECT_EQ(ledger.Find(LedgerTable::kRevealed, "k").status().code(),
              absl::StatusCode::kDataLoss);
    EXPECT_EQ(store.LedgerOf("other", 1).status().code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(store.PutSession({"job", 1, 1}, "x").code(), absl::StatusCode::kDataLoss);
  }
  const std::filesystem::path folder_ = ScratchFolder();
};

// The row has its name when the fsync of its folder fails: asked again, it must not be the answer.
TEST_F(MaskingStoreFsyncTest, ARowThatIsVisibleButNotDurableIsNoAnswer) {
  for (int survived = 0; survived < 3; ++survived) {  // of the row and its two counts
    const std::string job = "job" + std::to_string(survived);
    {
      const auto store = Open();
      const auto ledger = *store->LedgerOf(job, 1);
      syncs_left = survived;
      EXPECT_EQ(ledger->PutOnce(LedgerTable::kRevealed, "k", "v").status().code(),
                absl::StatusCode::kDataLoss);
      EXPECT_EQ(syncs_left, -1);  // that is what failed
      ExpectRefusesAll(*store, *ledger);
    }
    const auto store = Open();  // started again
    const auto ledger = *store->LedgerOf(job, 1);
    EXPECT_EQ(*ledger->PutOnce(LedgerTable::kRevealed, "k", "other"), "v");
  }
}

TEST_F(MaskingStoreFsyncTest, AFloorThatIsVisibleButNotDurableOpensNoRound) {
  for (int survived = 0; survived < 4; ++survived) {  // the job's folder, its floor, the round's
    const auto store = Open();
    const auto ledger = *store->LedgerOf("job", 2 * survived + 1);
    syncs_left = survived;
    EXPECT_EQ(store->LedgerOf("job", 2 * survived + 2).status().code(),
              absl::StatusCode::kDataLoss);
    EXPECT_EQ(syncs_left, -1);
    ExpectRefusesAll(*store, *ledger);
  }
}

TEST_F(MaskingStoreFsyncTest, ASessionThatIsVisibleButNotDurableEndsIt) {
  for (int survived = 0; survived < 2; ++survived) {  // of its key and itself
    const auto store = Open();
    const auto ledger = *store->LedgerOf("job", 1);
    syncs_left = survived;
    EXPECT_EQ(store->PutSession({"job", 1, uint32_t(survived)}, "x").code(),
              absl::StatusCode::kDataLoss);
    EXPECT_EQ(syncs_left, -1);
    ExpectRefusesAll(*store, *ledger);
  }
}

}  // namespace
}  // namespace rivulet
