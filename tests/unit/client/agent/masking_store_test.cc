#include "client/agent/masking_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using secagg::LedgerTable;
using testing::UnorderedElementsAre;

class MaskingStoreTest : public testing::Test {
 protected:
  std::unique_ptr<MaskingStore> Open() {
    auto store = MaskingStore::Open(folder_);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  const fs::path folder_ = ScratchFolder();
};

TEST_F(MaskingStoreTest, ARowIsWrittenOnceAndOutlivesTheProcess) {
  {
    const auto store = Open();
    const auto ledger = *store->LedgerOf("job", 1);
    EXPECT_EQ(*ledger->PutOnce(LedgerTable::kRevealed, "key", "first"), "first");
    EXPECT_EQ(*ledger->PutOnce(LedgerTable::kRevealed, "key", "second"), "first");
    EXPECT_EQ(*ledger->PutOnce(LedgerTable::kEndorsed, "key", "other"), "other");
  }
  const auto store = Open();
  const auto ledger = *store->LedgerOf("job", 1);
  EXPECT_EQ(*ledger->Find(LedgerTable::kRevealed, "key"), "first");
  EXPECT_EQ(*ledger->Find(LedgerTable::kRevealed, "another"), std::nullopt);
  EXPECT_EQ(*(*store->LedgerOf("other job", 1))->Find(LedgerTable::kRevealed, "key"), std::nullopt);
}

TEST_F(MaskingStoreTest, ALaterRoundEndsTheEarlierOnesForGood) {
  const auto store = Open();
  ASSERT_TRUE((*store->LedgerOf("job", 3))->PutOnce(LedgerTable::kRevealed, "k", "v").ok());
  ASSERT_TRUE(store->LedgerOf("job", 3).ok());
  ASSERT_TRUE(store->LedgerOf("job", 4).ok());
  for (const uint64_t round : {0, 1, 3}) {
    EXPECT_EQ(Open()->LedgerOf("job", round).status().code(),
              absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_TRUE(store->LedgerOf("another", 1).ok());
  const auto folders = [this] {
    size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / "masking")) {
      count += entry.is_directory();
    }
    return count;
  };
  store->DropRowsBefore("job", 5);  // which was not begun
  EXPECT_EQ(folders(), 5u);
  store->DropRowsBefore("job", 4);
  store->DropRowsBefore("never", 4);
  EXPECT_EQ(folders(), 4u);  // two jobs with the folder of one round each
  EXPECT_EQ(store->LedgerOf("job", 3).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(store->LedgerOf("job", 4).ok());
}

TEST_F(MaskingStoreTest, SessionsAreFoundAgainAndLeftoversRemoved) {
  const auto store = Open();
  ASSERT_TRUE(store->PutSession({"a", 1, 1}, "one").ok());
  ASSERT_TRUE(store->PutSession({"b", 1, 1}, "two").ok());
  ASSERT_TRUE(store->PutSession({"a", 1, 1}, "three").ok());
  std::ofstream(folder_ / "masking-0123.x1y2z3") << "half";
  EXPECT_THAT(Open()->Sessions(), UnorderedElementsAre("two", "three"));
  EXPECT_FALSE(fs::exists(folder_ / "masking-0123.x1y2z3"));
  std::ofstream(folder_ / "sealing-0123.x1y2z3") << "half";
  std::ofstream(folder_ / "sealing-0123") << std::string(32, 'k');  // before its session
  std::ofstream(folder_ / "masking-4567") << "no key";
  EXPECT_THAT(Open()->Sessions(), UnorderedElementsAre("two", "three"));
  for (const char* name : {"sealing-0123.x1y2z3", "sealing-0123", "masking-4567"}) {
    EXPECT_FALSE(fs::exists(folder_ / name)) << name;
  }
  store->EraseSession({"a", 1, 1});
  EXPECT_THAT(Open()->Sessions(), UnorderedElementsAre("two"));
}

TEST_F(MaskingStoreTest, ACrashBetweenTheTwoCountsIsNoOlderCopy) {
  const auto put = [](MaskingStore& store, const std::string& key) {
    return (*store.LedgerOf("job", 1))->PutOnce(LedgerTable::kRoster, key, "v").status();
  };
  ASSERT_TRUE(put(*Open(), "a").ok());
  ASSERT_TRUE(put(*Open(), "b").ok());
  std::ofstream(folder_ / "masked-rows") << "1";  // the outside count of row b was not written
  ASSERT_TRUE(put(*Open(), "c").ok());
  std::ofstream(folder_ / "masking" / "rows") << "2";  // row c is forgotten
  const auto store = Open();
  EXPECT_EQ(store->LedgerOf("job", 1).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(MaskingStoreTest, DamagedNumbersAreNotTakenForZero) {
  ASSERT_TRUE(Open()->LedgerOf("job", 7).ok());
  for (const auto& entry : fs::recursive_directory_iterator(folder_ / "masking")) {
    if (entry.path().filename() == "floor") std::ofstream(entry.path()) << "seven";
  }
  EXPECT_EQ(Open()->LedgerOf("job", 8).status().code(), absl::StatusCode::kDataLoss);
  std::ofstream(folder_ / "masked-rows") << "-1";
  EXPECT_EQ(MaskingStore::Open(folder_).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace rivulet
