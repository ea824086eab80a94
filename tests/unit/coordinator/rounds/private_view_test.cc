// What people see of a job under differential privacy.
#include "private_fixture.h"

namespace rivulet {
namespace {

class PrivateViews : public MaskedFederationTest {
 protected:
  // Of a job that was run to its end, with the events told meanwhile.
  JobView Finished(const JobSpec& spec) {
    StartPrivate(spec);
    ConnectMembers(kAll);
    const uint64_t watch =
        federation_->Subscribe("", [this](const JobEvent& event) { events_.push_back(event); });
    job_ = Submit();
    for (int step = 0; step < 5000 && !Show(job_).ended(); ++step) {
      const StoredState stored = *states_->Load();
      updates_.insert(updates_.end(), stored.updates.begin(), stored.updates.end());
      for (const EvaluationView& evaluation : Show(job_).evaluations) {
        if (!evaluation.done) shown_early_ += evaluation.counted;
      }
      if (!Once()) clock_.Advance(seconds(5));
    }
    federation_->Unsubscribe(watch);
    EXPECT_EQ(Show(job_).state, JobState::kFinished) << Show(job_).reason;
    return Show(job_);
  }

  std::vector<std::string> KeysOf(const std::string& type) const {
    for (const JobEvent& event : events_) {
      if (event.type != type) continue;
      std::vector<std::string> keys;
      for (const auto& [key, value] : event.data) keys.push_back(key);
      return keys;
    }
    return {"no such event"};
  }

  std::vector<RelationName> Relations() {
    std::vector<RelationName> relations;
    const StoredState stored = *states_->Load();
    for (const LedgerRecord& record : stored.ledger) {
      relations.push_back(LedgerRowFrom(record.row)->relation);
    }
    return relations;
  }

  std::string job_;
  std::vector<JobEvent> events_;
  int64_t shown_early_ = 0;            // positions counted in evaluations that were under way
  std::vector<UpdateRecord> updates_;  // as they lay in the store, each perhaps many times
};

using Keys = std::vector<std::string>;

TEST_F(PrivateViews, NoFigureOfASingleClientIsToldOrStored) {
  const JobView view = Finished(CentralSpec());
  EXPECT_EQ(KeysOf("client.completed"), Keys{"client"});
  ASSERT_FALSE(updates_.empty());
  for (const UpdateRecord& update : updates_) {
    EXPECT_EQ(update.examples, 0);
    EXPECT_EQ(update.tokens, 0);
    EXPECT_EQ(update.steps, 0);
    EXPECT_EQ(update.loss, 0);
    EXPECT_EQ(update.grad_norm, 0);
  }
  EXPECT_TRUE(view.evaluates_in_clear);
  ASSERT_FALSE(view.evaluations.empty());
  EXPECT_GT(view.evaluations[0].counted, 0) << "all clients together";
  EXPECT_TRUE(view.evaluations[0].clients.empty());
  EXPECT_EQ(shown_early_, 0) << "the difference of two sums is a client's";
}

TEST_F(PrivateViews, WithoutAMechanismTheyAre) {
  JobSpec spec = CentralSpec();
  spec.privacy.mechanism = "none";
  const JobView view = Finished(spec);
  EXPECT_EQ(KeysOf("client.completed"),
            (Keys{"client", "loss", "grad_norm", "examples", "tokens", "bytes"}));
  ASSERT_FALSE(updates_.empty());
  EXPECT_GT(updates_[0].tokens, 0);
  EXPECT_FALSE(view.evaluates_in_clear);
  EXPECT_EQ(view.evaluations.at(0).clients.size(), 6u);
  EXPECT_GT(shown_early_, 0);
}

TEST_F(PrivateViews, AnEndedJobIsShownSoAfterARestartToo) {
  Finished(CentralSpec());
  RestartPrivate();
  const JobView view = Show(job_);
  EXPECT_TRUE(view.evaluates_in_clear);
  EXPECT_EQ(view.num_rounds, 3u);
  EXPECT_TRUE(view.evaluations.at(0).clients.empty());
}

TEST_F(PrivateViews, NothingHeldOutNothingEvaluated) {
  JobSpec spec = CentralSpec();
  spec.data.held_out_fraction = 0;
  const JobView view = Finished(spec);
  EXPECT_TRUE(view.evaluations.empty());
  EXPECT_FALSE(view.evaluates_in_clear);
}

// A cohort of fixed size: nobody is added or removed, another would be in the place.
TEST_F(PrivateViews, ACohortOfFixedSizeIsCountedAsZeroOut) {
  Finished(CentralSpec());
  EXPECT_EQ(Relations(), std::vector<RelationName>(3, RelationName::kZeroOut));
}

TEST_F(PrivateViews, APoissonCohortIsCountedAsAddRemoveOne) {
  JobSpec spec = CentralSpec();
  spec.job.fraction_train = 0.5;
  spec.privacy.sampling = "poisson";
  spec.privacy.population = 6;
  Finished(spec);
  EXPECT_EQ(Relations(), std::vector<RelationName>(3, RelationName::kAddRemoveOne));
}

TEST_F(PrivateViews, DistributedNoiseIsCountedAsZeroOut) {
  JobSpec spec = MaskedToySpec();
  spec.job.min_clients = 6;
  spec.privacy.mechanism = "distributed";
  spec.privacy.noise_multiplier = 0.5;
  spec.privacy.target_epsilon = 100;
  spec.privacy.clip_norm = 4;
  Finished(spec);
  EXPECT_EQ(Relations(), std::vector<RelationName>(2, RelationName::kZeroOut));
}

}  // namespace
}  // namespace rivulet
