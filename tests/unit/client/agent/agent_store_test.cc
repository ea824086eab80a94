#include "client/agent/agent_store.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

class AgentStoreTest : public testing::Test {
 protected:
  const fs::path folder_ = ScratchFolder();
};

TEST_F(AgentStoreTest, ARestartFindsEpochStartsAndOutcomes) {
  Outcome outcome;
  outcome.kind = Outcome::Kind::kTrained;
  outcome.key = {"job", 2, 1};
  outcome.sha256 = std::string(64, 'b');
  outcome.loss = 2.125;
  {
    const auto store = *AgentStore::Open(folder_);
    ASSERT_TRUE(store->PutEpoch(9).ok());
    ASSERT_TRUE(store->PutStart({"job", 1, 1}).ok());
    ASSERT_TRUE(store->PutStart({"job", 1, 1}).ok());
    ASSERT_TRUE(store->PutStart({"job", 2, 1}).ok());
    ASSERT_TRUE(store->PutOutcome(outcome).ok());
  }
  const auto memory = (*AgentStore::Open(folder_))->Load();
  ASSERT_TRUE(memory.ok());
  EXPECT_EQ(memory->epoch, 9u);
  EXPECT_EQ(memory->starts.at({"job", 1, 1}), 2);
  ASSERT_EQ(memory->outcomes.size(), 1u);
  EXPECT_EQ(memory->outcomes[0].key, outcome.key);
  EXPECT_EQ(memory->outcomes[0].loss, 2.125);
}

TEST_F(AgentStoreTest, WhatIsForgottenIsGoneWithItsFile) {
  const auto store = *AgentStore::Open(folder_);
  Outcome outcome;
  outcome.kind = Outcome::Kind::kTrained;
  outcome.key = {"job", 2, 1};
  outcome.sha256 = std::string(64, 'b');
  std::ofstream(store->UpdatePath(outcome.key)) << "delta";
  ASSERT_TRUE(store->PutOutcome(outcome).ok());
  outcome.kind = Outcome::Kind::kFailed;  // the coordinator refused it
  outcome.sha256.clear();
  ASSERT_TRUE(store->PutOutcome(outcome).ok());
  ASSERT_TRUE(store->Forget(outcome.key).ok());
  EXPECT_FALSE(fs::exists(store->UpdatePath(outcome.key)));
  EXPECT_TRUE(store->Load()->outcomes.empty());
  EXPECT_TRUE(store->Forget(outcome.key).ok());
}

TEST_F(AgentStoreTest, AStartThatIsTakenBackLeavesTheDeathsBefore) {
  const auto store = *AgentStore::Open(folder_);
  const TaskKey key = {"job", 1, 1};
  ASSERT_TRUE(store->PutStart(key).ok());
  ASSERT_TRUE(store->PutStart(key).ok());
  ASSERT_TRUE(store->TakeBackStart(key).ok());
  EXPECT_EQ(store->Load()->starts.at(key), 1);
  ASSERT_TRUE(store->TakeBackStart(key).ok());
  EXPECT_TRUE(store->Load()->starts.empty());
}

TEST_F(AgentStoreTest, ARestartRemovesWhatACrashLeft) {
  const auto store = *AgentStore::Open(folder_);
  const TaskKey trained = {"job", 2, 1}, begun = {"job", 3, 1}, failed = {"job", 4, 1};
  for (const TaskKey& key : {trained, begun, failed}) {
    std::ofstream(store->UpdatePath(key)) << "delta";
    Outcome outcome;
    outcome.key = key;
    if (key == trained) outcome.kind = Outcome::Kind::kTrained;
    ASSERT_TRUE((key == begun ? store->PutStart(key) : store->PutOutcome(outcome)).ok());
  }
  std::vector<fs::path> left;  // complete, but not yet renamed
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("task-") || name.starts_with("update-")) left.push_back(entry.path());
  }
  ASSERT_EQ(left.size(), 6u);
  for (const fs::path& path : left) fs::copy_file(path, path.string() + ".Xy12Ab");
  std::ofstream(folder_ / "epoch.Xy12Ab") << "9";
  const auto memory = store->Load();
  ASSERT_TRUE(memory.ok());
  EXPECT_EQ(memory->outcomes.size(), 2u);
  EXPECT_EQ(memory->starts.size(), 1u);
  std::set<fs::path> now;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    now.insert(entry.path());
  }
  std::set<fs::path> want(left.begin(), left.end());
  want.erase(store->UpdatePath(begun));
  want.erase(store->UpdatePath(failed));
  want.insert(folder_ / "lock");
  EXPECT_EQ(now, want);
}

TEST_F(AgentStoreTest, AStartThatCameToNothingIsForgottenAfterThirtyDays) {
  const auto store = *AgentStore::Open(folder_);
  Outcome kept;
  kept.key = {"job", 2, 1};
  ASSERT_TRUE(store->PutStart({"job", 1, 1}).ok());
  ASSERT_TRUE(store->PutOutcome(kept).ok());
  const auto now = fs::file_time_type::clock::now();
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    fs::last_write_time(entry, now - std::chrono::hours(29 * 24));
  }
  EXPECT_EQ(store->Load()->starts.size(), 1u);
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    fs::last_write_time(entry, now - std::chrono::hours(31 * 24));
  }
  ASSERT_TRUE(store->PutStart({"job", 3, 1}).ok());
  const auto memory = store->Load();
  ASSERT_TRUE(memory.ok());
  EXPECT_EQ(memory->starts, (std::map<TaskKey, int>{{{"job", 3, 1}, 1}}));
  EXPECT_EQ(memory->outcomes.size(), 1u);  // the coordinator has not been told
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 3);  // lock
}

TEST_F(AgentStoreTest, TwoAgentsOnOneDirectoryAreRefusedWithEight) {
  const auto first = AgentStore::Open(folder_);
  EXPECT_EQ(ExitCodeOf(AgentStore::Open(folder_).status()), ExitCode::kState);
}

TEST_F(AgentStoreTest, ADamagedTaskFileCountsAsNeverBegun) {
  std::ofstream(folder_ / "task-00.json") << "{\"job\":";
  const auto memory = (*AgentStore::Open(folder_))->Load();
  ASSERT_TRUE(memory.ok());
  EXPECT_TRUE(memory->starts.empty());
  EXPECT_FALSE(fs::exists(folder_ / "task-00.json"));
}

}  // namespace
}  // namespace rivulet
