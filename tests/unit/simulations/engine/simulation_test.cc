#include "simulations/engine/simulation.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "client/runtime/job_tuner.h"
#include "simulations/engine/fleet.h"
#include "tests/unit/simulations/engine/letters.h"

namespace rivulet {
namespace {

std::vector<std::string> Clients(int count) {
  std::vector<std::string> names;
  for (int client = 0; client < count; ++client) names.push_back("c" + std::to_string(client));
  return names;
}

JobSpec Job(int min_clients, int per_round, double fraction, double over_selection) {
  JobSpec spec;
  spec.job.min_clients = min_clients;
  spec.job.clients_per_round = per_round;
  spec.job.fraction_train = fraction;
  spec.job.over_selection = over_selection;
  return spec;
}

// By hand: a fraction is rounded down but never below min-clients, over-selection up.
TEST(FirstCohort, IsWhatTheEngineWouldInvite) {
  struct Case {
    JobSpec spec;
    int clients, needed;
    size_t invited;
  };
  for (const Case& one :
       {Case{Job(2, 0, 0.1, 1.0), 10, 2, 2}, Case{Job(2, 0, 0.3, 1.0), 10, 3, 3},
        Case{Job(2, 5, 1.0, 1.3), 10, 5, 7}, Case{Job(2, 50, 1.0, 2.0), 10, 10, 10},
        Case{Job(10, 0, 0.5, 1.0), 10, 10, 10}}) {
    const auto cohort = FirstCohort(one.spec, Clients(one.clients));
    ASSERT_TRUE(cohort.ok()) << cohort.status();
    EXPECT_EQ(cohort->needed, one.needed);
    EXPECT_EQ(cohort->invited.size(), one.invited);
  }
}

TEST(FirstCohort, FewerClientsThanTheJobNeedsIsAMistakeInTheJob) {
  const absl::Status few = FirstCohort(Job(3, 0, 1.0, 1.0), Clients(2)).status();
  EXPECT_EQ(few.message(), "job.min-clients: got 3, want at most the 2 clients of this simulation");
  EXPECT_EQ(ExitCodeOf(few), ExitCode::kConfig);
  JobSpec spec = Job(2, 0, 1.0, 1.0);
  spec.job.min_available_clients = 5;
  EXPECT_EQ(FirstCohort(spec, Clients(4)).status().message(),
            "job.min-available-clients: got 5, want at most the 4 clients of this simulation");
}

TEST(FirstCohort, ATrustedClientIsOneOfTheSimulation) {
  JobSpec spec = Job(3, 0, 1.0, 1.0);
  const std::vector<std::string> clients = Clients(4);
  spec.robust.rule = "fltrust";
  spec.robust.trusted_client = clients[2];
  const auto cohort = FirstCohort(spec, clients);
  ASSERT_TRUE(cohort.ok()) << cohort.status();
  EXPECT_EQ(cohort->needed, 4);
  spec.job.min_clients = 4;
  EXPECT_EQ(FirstCohort(spec, clients).status().message(),
            "job.min-clients: got 4, want at most the 3 clients of this simulation");
  spec.robust.trusted_client = "nobody";
  const absl::Status unknown = FirstCohort(spec, clients).status();
  EXPECT_TRUE(std::string(unknown.message())
                  .starts_with("robust.trusted-client: got \"nobody\", want one of the 4 clients "
                               "of this simulation: " +
                               clients[0]))
      << unknown;
  EXPECT_EQ(ExitCodeOf(unknown), ExitCode::kConfig);
}

TEST(FirstCohort, ClientsWhoRestLeaveEnoughForTheNextRounds) {
  JobSpec spec = Job(2, 3, 1.0, 1.0);
  spec.job.num_rounds = 10;
  spec.privacy.correlation = "banded";
  spec.privacy.min_separation = 3;
  EXPECT_TRUE(FirstCohort(spec, Clients(9)).ok());
  const absl::Status few = FirstCohort(spec, Clients(8)).status();
  EXPECT_EQ(few.message(),
            "job.clients-per-round x privacy.min-separation: got 9, want at most the 8 clients of "
            "this simulation");
  spec.job.num_rounds = 2;  // nobody comes twice
  EXPECT_TRUE(FirstCohort(spec, Clients(8)).ok());
}

TEST(WorkersOf, SharesTheCoresAmongTheThreadsOfAStep) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  EXPECT_EQ(WorkersOf(7, 4), 7);
  EXPECT_EQ(WorkersOf(0, 1), std::max(1, cores));
  EXPECT_EQ(WorkersOf(0, 2), std::max(1, cores / 2));
  EXPECT_EQ(WorkersOf(0, 1024), std::max(1, cores / 1024));
}

// An honest client's tuner that takes longer than the job's rounds may.
class SlowTuner final : public Tuner {
 public:
  explicit SlowTuner(std::unique_ptr<Tuner> honest) : honest_(std::move(honest)) {}
  absl::StatusOr<TuneResult> Tune(const TuneRequest& request) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
    return honest_->Tune(request);
  }
  absl::StatusOr<EvaluationSums> Evaluate(const ParameterSet& global,
                                          std::span<const Example> examples) override {
    return honest_->Evaluate(global, examples);
  }
  const Manifest& manifest() const override { return honest_->manifest(); }

 private:
  const std::unique_ptr<Tuner> honest_;
};

// Clients wait for a worker, some for long: a run must not depend on how busy its machine is.
TEST(Simulation, HasNoDeadlineOfRounds) {
  for (const bool masked : {false, true}) {
    JobSpec spec = testing::LetterJob();
    spec.job.num_rounds = 1;
    spec.job.min_clients = 3;
    spec.job.min_available_clients = 4;
    spec.job.clients_per_round = 4;
    spec.job.round_deadline = std::chrono::seconds(1);
    spec.train.max_steps = 1;
    spec.secure_aggregation.enabled = masked;
    const JobView view =
        testing::RunLetters(
            spec, {"ada", "bob", "cyd", "dee"}, [](const JobEvent&) {},
            [](const std::filesystem::path& base,
               const JobSpec& job) -> absl::StatusOr<std::unique_ptr<Tuner>> {
              RV_ASSIGN_OR_RETURN(std::unique_ptr<Tuner> honest, MakeJobTuner(base, job));
              return std::make_unique<SlowTuner>(std::move(honest));
            })
            .view;
    ASSERT_EQ(view.state, JobState::kFinished) << masked << view.reason;
    ASSERT_EQ(view.rounds.size(), 1u);
    EXPECT_EQ(view.rounds[0].reported.size(), 4u) << masked;
  }
}

}  // namespace
}  // namespace rivulet
