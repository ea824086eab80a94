#include "client/agent/release_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "client/agent/failure_report.h"
#include "common/io/file.h"
#include "common/job/job_document.h"
#include "common/job/job_model.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

const std::string kModelFolder = std::string(RIVULET_SOURCE_DIR) + "/simulations/models/llama-7m";

class ReleaseBookTest : public testing::Test {
 protected:
  static Assignment Task(const std::string& job, uint64_t round,
                         const std::string& data_set = "notes") {
    JobSpec spec;
    spec.model.name = "llama-7m";
    spec.data.dataset = data_set;
    spec.data.seq_length = 64;
    Assignment task;
    task.key = {job, round, 1};
    task.state_sha256 = "state of round " + std::to_string(round);
    task.job_document = JobDocumentText(*DescribeJob(kModelFolder, spec));
    return task;
  }
  void Write(const std::string& text) { std::ofstream(folder_ / "releases.json") << text; }

  const std::filesystem::path folder_ = ScratchFolder();
};

TEST_F(ReleaseBookTest, CountsAllJobsOfADataSetAndRefusesTheNext) {
  ReleaseBook book(folder_, 3);
  for (const Assignment& task : {Task("a", 1), Task("a", 2), Task("b", 1)}) {
    ASSERT_TRUE(book.Check(task).ok());
    ASSERT_TRUE(book.Count(task).ok()) << book.Count(task);
  }
  for (const absl::Status& refused :
       {book.Check(Task("b", 2)), book.Count(Task("b", 2)), book.Check(Task("c", 1))}) {
    EXPECT_EQ(ExitCodeOf(refused), ExitCode::kPolicy);
    EXPECT_EQ(ReportOf(refused).code, "refused_policy");
    EXPECT_EQ(ReportOf(refused).text,
              "policy: privacy.max-releases-in-all: got release 4 of data set 'notes', allowed at "
              "most 3");
  }
  EXPECT_TRUE(book.Count(Task("a", 1, "other")).ok()) << "each data set by itself";
}

TEST_F(ReleaseBookTest, TheSameTaskAgainCountsOnce) {
  ReleaseBook book(folder_, 1);
  for (int time = 0; time < 3; ++time) {
    EXPECT_TRUE(book.Check(Task("a", 1)).ok());
    EXPECT_TRUE(book.Count(Task("a", 1)).ok());
  }
  EXPECT_FALSE(book.Check(Task("a", 2)).ok());
}

// Its noise is fresh, and so may its directions be: many of one round could be averaged.
TEST_F(ReleaseBookTest, AnotherAttemptAtTheSameRoundIsAnotherRelease) {
  ReleaseBook book(folder_, 2);
  Assignment task = Task("a", 1);
  for (task.key.attempt = 1; task.key.attempt <= 2; ++task.key.attempt) {
    EXPECT_TRUE(book.Count(task).ok());
  }
  EXPECT_EQ(ExitCodeOf(book.Count(task)), ExitCode::kPolicy);
}

TEST_F(ReleaseBookTest, ALongNameOfAJobIsRefused) {
  ReleaseBook book(folder_, 2);
  EXPECT_EQ(book.Count(Task(std::string(257, 'j'), 1)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(book.Count(Task(std::string(256, 'j'), 1)).ok());
}

// Or a coordinator could ask of one round for as many updates as it has states.
TEST_F(ReleaseBookTest, AnotherStateOrDocumentUnderTheSameRoundIsAnotherRelease) {
  ReleaseBook book(folder_, 1);
  ASSERT_TRUE(book.Count(Task("a", 1)).ok());
  Assignment other_state = Task("a", 1), other_document = Task("a", 1);
  other_state.state_sha256 = "another";
  other_document.job_document.insert(1, " ");
  EXPECT_EQ(ExitCodeOf(book.Count(other_state)), ExitCode::kPolicy);
  EXPECT_FALSE(book.Count(other_document).ok());
}

TEST_F(ReleaseBookTest, IsKeptAcrossRestarts) {
  ASSERT_TRUE(ReleaseBook(folder_, 2).Count(Task("a", 1)).ok());
  ASSERT_TRUE(ReleaseBook(folder_, 2).Count(Task("a", 1)).ok());
  ASSERT_TRUE(ReleaseBook(folder_, 2).Count(Task("b", 1)).ok());
  ReleaseBook book(folder_, 2);
  EXPECT_TRUE(book.Check(Task("b", 1)).ok()) << "said again after a restart";
  EXPECT_EQ(ExitCodeOf(book.Check(Task("b", 2))), ExitCode::kPolicy);
  const auto mode = std::filesystem::status(folder_ / "releases.json").permissions();
  EXPECT_EQ(mode, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(ReleaseBookTest, EvaluationsAreNoReleases) {
  ReleaseBook book(folder_, 1);
  ASSERT_TRUE(book.Count(Task("a", 1)).ok());
  Assignment task = Task("a", 1);
  task.key.attempt = 0;
  task.kind = Assignment::Kind::kEvaluate;
  EXPECT_TRUE(book.Check(task).ok());
}

TEST_F(ReleaseBookTest, WithoutItsPastNothingIsGivenOut) {
  for (const std::string text :
       {"", "{", "[]", R"({"data_sets":{"notes":{"a":{"releases":0,"last":""}}}})",
        R"({"data_sets":{"notes":{"a":{"releases":1}}}})", R"({"data_sets":{"notes":[3]}})"}) {
    Write(text);
    ReleaseBook book(folder_, 1000);
    for (const absl::Status& refused : {book.Check(Task("z", 1)), book.Count(Task("z", 1))}) {
      EXPECT_EQ(ExitCodeOf(refused), ExitCode::kState) << text;
      EXPECT_THAT(std::string(refused.message()), HasSubstr("releases.json"));
      EXPECT_EQ(ReportOf(refused).text.find(folder_.string()), std::string::npos);
    }
    EXPECT_EQ(*ReadFile(folder_ / "releases.json", 1000), text) << "left as it was";
  }
}

TEST_F(ReleaseBookTest, WhatCannotBeWrittenIsNotGivenOut) {
  ReleaseBook book(folder_ / "gone", 1);
  EXPECT_FALSE(book.Count(Task("a", 1)).ok());
  std::filesystem::create_directory(folder_ / "gone");
  EXPECT_TRUE(book.Count(Task("b", 1)).ok()) << "nor was it counted";
}

}  // namespace
}  // namespace rivulet
