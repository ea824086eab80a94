#include "client/upload/residual_store.h"

#include <gtest/gtest.h>

#include <fstream>

#include "common/io/file.h"
#include "common/io/sha256.h"
#include "tests/unit/scratch.h"

// Every ResidualStore keeps this contract; and what only files can get wrong.

namespace rivulet {
namespace {

namespace fs = std::filesystem;

const Manifest& Pair() {
  static const Manifest manifest = {{"a", DType::kF32, {2}}};
  return manifest;
}

ParameterSet Rest(float value) {
  ParameterSet set(Pair());
  set.floats(0)[0] = value;
  return set;
}

UploadKey Upload(uint64_t round, uint32_t attempt = 1, const std::string& client = "ann",
                 const std::string& job = "j") {
  return {job, client, round, attempt};
}

// Of the state that a round is given when every round before has moved it.
std::string StateOf(uint64_t round) { return Sha256Hex(std::to_string(round)); }

struct ResidualKind {
  const char* name;
  std::unique_ptr<ResidualStore> (*make)(const fs::path& folder);
};

class ResidualStoreContract : public testing::TestWithParam<ResidualKind> {
 protected:
  // The first value of what Take gives; 0 for nothing.
  float Taken(const UploadKey& next, const std::string& state) {
    const std::optional<ParameterSet> rest = store_->Take(next, state, Pair());
    return rest ? rest->floats(0)[0] : 0;
  }
  float Taken(const UploadKey& next) { return Taken(next, StateOf(next.round)); }
  void Propose(const UploadKey& upload, float rest, const std::string& moves) {
    ASSERT_TRUE(store_->Propose(upload, moves, Rest(rest)).ok());
  }
  void Propose(const UploadKey& upload, float rest) {
    Propose(upload, rest, StateOf(upload.round));
  }
  void Accept(const UploadKey& upload) { ASSERT_TRUE(store_->Settle(upload).ok()); }

  const fs::path folder_ = ScratchFolder();
  std::unique_ptr<ResidualStore> store_ = GetParam().make(folder_);
};

TEST_P(ResidualStoreContract, WhatAnAcknowledgedUploadLeftGoesIntoTheNextRound) {
  EXPECT_EQ(Taken(Upload(1)), 0);
  Propose(Upload(1), 1.5f);
  EXPECT_EQ(Taken(Upload(2)), 0);  // not acknowledged yet
  Accept(Upload(1));
  Accept(Upload(1));  // the acknowledgement came twice
  EXPECT_EQ(Taken(Upload(2)), 1.5f);
  EXPECT_EQ(Taken(Upload(2)), 1.5f);  // the same task again, after a crash
  Propose(Upload(2), 2.5f);
  EXPECT_EQ(Taken(Upload(2)), 1.5f);
  Accept(Upload(2));
  EXPECT_EQ(Taken(Upload(3)), 2.5f);
}

TEST_P(ResidualStoreContract, ARefusedUploadChangesNothing) {
  Propose(Upload(1), 1.5f);
  Accept(Upload(1));
  Propose(Upload(2), 2.5f);
  EXPECT_EQ(Taken(Upload(3)), 1.5f);
  Accept(Upload(7));  // never proposed
  EXPECT_EQ(Taken(Upload(8)), 1.5f);
}

TEST_P(ResidualStoreContract, AnotherAttemptOfARoundStartsFromTheRoundBefore) {
  Propose(Upload(1), 1.5f);
  Accept(Upload(1));
  Propose(Upload(2, 1), 2.5f);
  Accept(Upload(2, 1));  // but the attempt is abandoned
  EXPECT_EQ(Taken(Upload(2, 2)), 1.5f);
  Propose(Upload(2, 2), 3.5f);
  Accept(Upload(2, 2));
  EXPECT_EQ(Taken(Upload(3)), 3.5f);
}

TEST_P(ResidualStoreContract, ClientsAndJobsKeepTheirOwn) {
  Propose(Upload(1, 1, "ann"), 1.5f);
  Accept(Upload(1, 1, "ann"));
  Propose(Upload(1, 1, "bob"), 2.5f);
  Accept(Upload(1, 1, "bob"));
  Propose(Upload(1, 1, "ann", "k"), 3.5f);
  Accept(Upload(1, 1, "ann", "k"));
  EXPECT_EQ(Taken(Upload(2, 1, "ann")), 1.5f);
  EXPECT_EQ(Taken(Upload(2, 1, "bob")), 2.5f);
  EXPECT_EQ(Taken(Upload(2, 1, "ann", "k")), 3.5f);
}

TEST_P(ResidualStoreContract, TenRoundsOfAbsenceAreTooMany) {
  Propose(Upload(5), 1.5f);
  Accept(Upload(5));
  EXPECT_EQ(Taken(Upload(15)), 1.5f);  // absent from 6 to 14
  EXPECT_EQ(Taken(Upload(16)), 0);
}

// Of two passes: whoever is asked for the second was counted in the first.
TEST_P(ResidualStoreContract, WhatTheRoundBeforeLeftIsKeptAcknowledgedOrNot) {
  EXPECT_FALSE(store_->TakeKept(Upload(2), Pair()).has_value());
  Propose(Upload(1), 1.5f);
  const auto kept = store_->TakeKept(Upload(2), Pair());
  ASSERT_TRUE(kept.has_value());
  EXPECT_EQ(kept->floats(0)[0], 1.5f);
  EXPECT_EQ(Taken(Upload(2)), 1.5f);                              // and counts from then on
  EXPECT_FALSE(store_->TakeKept(Upload(4), Pair()).has_value());  // it is of no round 3
  EXPECT_FALSE(store_->TakeKept(Upload(2, 1, "bob"), Pair()).has_value());
  Propose(Upload(2), 2.5f);
  EXPECT_TRUE(store_->TakeKept(Upload(2, 2), Pair()).has_value());  // another attempt
  EXPECT_EQ(Taken(Upload(3)), 1.5f);  // the second came to nothing: all of it is still there
  Accept(Upload(2));
  EXPECT_EQ(Taken(Upload(3)), 2.5f);
  EXPECT_FALSE(store_->TakeKept(Upload(3), {{"a", DType::kF32, {3}}}).has_value());
}

// Round 3 is given the state of round 2: that round was lost, acknowledged or not.
TEST_P(ResidualStoreContract, ARoundThatMovedNothingHasTakenNothing) {
  Propose(Upload(1), 1.5f);
  Accept(Upload(1));
  Propose(Upload(2), 2.5f);
  Accept(Upload(2));
  EXPECT_EQ(Taken(Upload(2, 2), StateOf(2)), 1.5f);  // another attempt says nothing of it
  EXPECT_EQ(Taken(Upload(3, 1, "bob"), StateOf(2)), 0);
  EXPECT_EQ(Taken(Upload(3), StateOf(2)), 1.5f);
  Propose(Upload(3), 3.5f, StateOf(2));  // refused
  EXPECT_EQ(Taken(Upload(4)), 1.5f);     // and round 2 is no better for what comes after it
  Propose(Upload(4), 4.5f);
  Accept(Upload(4));
  EXPECT_EQ(Taken(Upload(5)), 4.5f);
}

// Nothing moves between two passes, and what the first left is there whatever comes of the second.
TEST_P(ResidualStoreContract, WhatALostSecondPassTookIsPutBack) {
  for (const bool lost : {true, false}) {
    const uint64_t first = lost ? 1 : 3;
    Propose(Upload(first), 1.5f, "");
    Accept(Upload(first));
    ASSERT_TRUE(store_->TakeKept(Upload(first + 1), Pair()).has_value());
    Propose(Upload(first + 1), 2.5f, StateOf(first));
    Accept(Upload(first + 1));
    EXPECT_EQ(Taken(Upload(first + 2), StateOf(lost ? first : first + 2)), lost ? 1.5f : 2.5f);
  }
}

TEST_P(ResidualStoreContract, AnotherManifestIsAnotherModel) {
  Propose(Upload(1), 1.5f);
  Accept(Upload(1));
  EXPECT_FALSE(store_->Take(Upload(2), StateOf(2), {{"a", DType::kF32, {3}}}).has_value());
}

INSTANTIATE_TEST_SUITE_P(Kinds, ResidualStoreContract,
                         testing::Values(ResidualKind{"memory",
                                                      [](const fs::path&) {
                                                        return MakeMemoryResidualStore();
                                                      }},
                                         ResidualKind{"directory", OpenResidualDirectory}),
                         [](const auto& info) { return std::string(info.param.name); });

class ResidualDirectoryTest : public testing::Test {
 protected:
  std::vector<fs::path> Files() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder_)) files.push_back(entry.path());
    return files;
  }
  void Store(uint64_t round, float rest) {
    const auto store = OpenResidualDirectory(folder_);
    ASSERT_TRUE(store->Propose(Upload(round), StateOf(round), Rest(rest)).ok());
    ASSERT_TRUE(store->Settle(Upload(round)).ok());
  }
  const fs::path folder_ = ScratchFolder();
};

TEST_F(ResidualDirectoryTest, SurvivesARestartInFilesOfTheOwnersAlone) {
  Store(1, 1.5f);
  ASSERT_EQ(Files().size(), 1u);
  EXPECT_EQ(fs::status(Files()[0]).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  const auto rest = OpenResidualDirectory(folder_)->Take(Upload(2), StateOf(2), Pair());
  ASSERT_TRUE(rest.has_value());
  EXPECT_EQ(rest->floats(0)[0], 1.5f);
  for (uint64_t round = 2; round < 20; ++round) Store(round, 1);
  EXPECT_EQ(Files().size(), 2u);  // the last one, and what it was made from
}

// What a round was to move is known after a death, also one before the acknowledgement is noted.
TEST_F(ResidualDirectoryTest, ALostRoundIsFoundOutAfterARestart) {
  Store(1, 1.5f);
  Store(2, 2.5f);
  const auto store = OpenResidualDirectory(folder_);
  ASSERT_TRUE(store->Settle(Upload(2)).ok());  // said again
  const auto rest = OpenResidualDirectory(folder_)->Take(Upload(3), StateOf(2), Pair());
  ASSERT_TRUE(rest.has_value());
  EXPECT_EQ(rest->floats(0)[0], 1.5f);
  EXPECT_EQ(Files().size(), 1u);
}

TEST_F(ResidualDirectoryTest, ADamagedFileIsNothing) {
  Store(1, 1.5f);
  std::ofstream(Files()[0]) << "rubbish";
  EXPECT_FALSE(OpenResidualDirectory(folder_)->Take(Upload(2), StateOf(2), Pair()).has_value());
  Store(1, std::nanf(""));
  EXPECT_FALSE(OpenResidualDirectory(folder_)->Take(Upload(2), StateOf(2), Pair()).has_value());
}

TEST_F(ResidualDirectoryTest, RemovesLeftoversAndOldOnesAndNothingElse) {
  Store(1, 1.5f);
  const fs::path kept = Files()[0];
  std::ofstream(folder_ / "residual-half.XyZ123") << "x";
  std::ofstream(folder_ / "task-1.json") << "{}";
  OpenResidualDirectory(folder_);
  EXPECT_FALSE(fs::exists(folder_ / "residual-half.XyZ123"));
  EXPECT_TRUE(fs::exists(kept));
  fs::last_write_time(kept, fs::file_time_type::clock::now() - std::chrono::hours(24 * 31));
  OpenResidualDirectory(folder_);
  EXPECT_FALSE(fs::exists(kept));
  EXPECT_TRUE(fs::exists(folder_ / "task-1.json"));
}

TEST_F(ResidualDirectoryTest, WhatCannotBeKeptIsLostRatherThanSentTwice) {
  Store(1, 1.5f);
  const auto store = OpenResidualDirectory(folder_);
  // A directory is in the way of the new file.
  const std::string name = Files()[0].filename().string();
  const std::string owner = name.substr(0, name.find('-', 9));
  fs::create_directories(folder_ / (owner + "-2-1-" + StateOf(2) + ".new") / "x");
  EXPECT_FALSE(store->Propose(Upload(2), StateOf(2), Rest(2.5f)).ok());
  EXPECT_FALSE(store->Take(Upload(3), StateOf(3), Pair()).has_value());
}

}  // namespace
}  // namespace rivulet
