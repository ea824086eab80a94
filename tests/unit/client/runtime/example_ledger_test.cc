#include "client/runtime/example_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "client/agent/failure_report.h"
#include "privacy/dp/exact_gaussian.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

constexpr ExampleLedger::Limit kMuch = {100, 1e-5};

ExampleRelease Training(const std::string& job, uint64_t round) { return {job, round, 1, 1, 2, 3}; }

// Three steps of z = 2 each: mu^2 = 3/4 a training.
double Cost(int trainings) { return ExactGaussianEpsilon(std::sqrt(0.75 * trainings), 1e-5); }

double Charge(ExampleLedger& ledger, const ExampleRelease& release,
              const std::string& data_set = "notes") {
  const auto spent = ledger.Charge("ann", data_set, release, kMuch);
  EXPECT_TRUE(spent.ok()) << spent.status();
  return spent.ok() ? spent->pld : -1;
}

TEST(ExampleLedger, TrainingsAddUpOverProcessesAndJobs) {
  const fs::path folder = ScratchFolder();
  {
    ExampleLedger ledger(folder);
    EXPECT_NEAR(Charge(ledger, Training("one", 1)), Cost(1), 1e-9);
    EXPECT_NEAR(Charge(ledger, Training("one", 2)), Cost(2), 1e-9);
  }
  ExampleLedger ledger(folder);
  EXPECT_NEAR(Charge(ledger, Training("two", 1)), Cost(3), 1e-9);
  EXPECT_NEAR(Charge(ledger, Training("one", 1), "letters"), Cost(1), 1e-9);
}

// A coordinator that asks for the same task again gets fresh noise over the same examples.
TEST(ExampleLedger, TheSameTaskAgainIsAnotherTraining) {
  ExampleLedger ledger;
  EXPECT_NEAR(Charge(ledger, Training("one", 1)), Cost(1), 1e-9);
  EXPECT_NEAR(Charge(ledger, Training("one", 1)), Cost(2), 1e-9);
}

TEST(ExampleLedger, SimulatedClientsHaveDataSetsOfTheirOwn) {
  ExampleLedger ledger;
  EXPECT_NEAR(Charge(ledger, Training("one", 1)), Cost(1), 1e-9);
  EXPECT_NEAR(ledger.Charge("bob", "notes", Training("one", 1), kMuch)->pld, Cost(1), 1e-9);
}

// Vector 14 of dp_accountant.json: q = .01, sigma = .7, 120 steps.
TEST(ExampleLedger, SampledTrainingsCostWhatTheVectorSays) {
  ExampleLedger ledger;
  double spent = 0;
  for (uint64_t round = 1; round <= 3; ++round) {
    spent = Charge(ledger, {"one", round, 1, 0.01, 0.7, 40});
  }
  EXPECT_NEAR(spent, 2.4612381, 1e-4 * 2.4612381);
}

TEST(ExampleLedger, BeyondTheLimitNothingIsEnteredAndTheReportHasNoNumber) {
  const fs::path folder = ScratchFolder();
  const ExampleLedger::Limit limit{(Cost(2) + Cost(3)) / 2, 1e-5};
  for (uint64_t round = 1; round <= 2; ++round) {
    ExampleLedger ledger(folder);
    ASSERT_TRUE(ledger.Charge("ann", "notes", Training("one", round), limit).ok());
  }
  for (uint64_t round = 3; round <= 4; ++round) {
    ExampleLedger ledger(folder);
    const absl::Status status =
        ledger.Charge("ann", "notes", Training("one", round), limit).status();
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kBudget) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(FormatEpsilon(Cost(3))));
    EXPECT_EQ(ReportOf(status).text, "data set 'notes': its privacy budget is spent");
  }
}

TEST(ExampleLedger, WithoutItsPastNothingIsTrained) {
  const fs::path folder = ScratchFolder();
  {
    ExampleLedger ledger(folder);
    Charge(ledger, Training("one", 1));
  }
  for (const fs::directory_entry& file : fs::directory_iterator(folder)) {
    EXPECT_EQ(fs::status(file).permissions(), fs::perms::owner_read | fs::perms::owner_write);
    fs::resize_file(file, fs::file_size(file) - 2);
  }
  ExampleLedger ledger(folder);
  const absl::Status status = ledger.Charge("ann", "letters", Training("one", 1), kMuch).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kState);
}

TEST(ExampleLedger, ReleasesOutOfRangeAreRefused) {
  ExampleLedger ledger;
  EXPECT_FALSE(ledger.Charge("ann", "notes", {"one", 1, 1, 2, 1, 1}, kMuch).ok());
  EXPECT_FALSE(ledger.Charge("ann", "notes", {"one", 1, 1, 1, 1, 0}, kMuch).ok());
  EXPECT_FALSE(ledger.Charge("ann", "notes", {"one", 1, 1, 1, 0, 1}, kMuch).ok());
}

}  // namespace
}  // namespace rivulet
