#include "client/agent/agent_store.h"

#include <gtest/gtest.h>

#include <fstream>

namespace rivulet {
namespace {

namespace fs = std::filesystem;

class AgentStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "rivulet-agent-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
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
  std::ofstream(store->UpdatePath(outcome.sha256)) << "delta";
  ASSERT_TRUE(store->PutOutcome(outcome).ok());
  ASSERT_TRUE(store->Forget(outcome.key).ok());
  EXPECT_FALSE(fs::exists(store->UpdatePath(outcome.sha256)));
  EXPECT_TRUE(store->Load()->outcomes.empty());
  EXPECT_TRUE(store->Forget(outcome.key).ok());
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
