// Federation: rounds in which some clients lie.
#include <cmath>

#include "aggregation/upload/plain_upload.h"
#include "common/formats/safetensors.h"
#include "federation_fixture.h"

namespace rivulet {
namespace {

JobSpec RobustToy(const std::string& rule, int faulty) {
  JobSpec spec = ToySpec();
  spec.job.num_rounds = 2;
  spec.job.min_available_clients = 7;
  spec.strategy.weighting = "uniform";
  spec.robust.rule = rule;
  spec.robust.faulty = faulty;
  return spec;
}

// Seven clients who all move every number by about an eighth; the last is not honest.
class RobustRoundTest : public FederationTest {
 protected:
  ToyUpdate Lie(const ToyUpdate& honest) const {
    ToyUpdate lie = honest;
    for (size_t row = 0; row < lie.delta.size(); ++row) {
      for (float& value : lie.delta.floats(row)) value = lie_;
    }
    lie.file = SafetensorsBytes(lie.delta);
    return lie;
  }
  static ToyUpdate Honest(const ToyGateway::Order& order) {
    ToyUpdate update = ToyTrain(order.client, order.task.round, "");
    for (size_t row = 0; row < update.delta.size(); ++row) {
      for (float& value : update.delta.floats(row)) value = (value + 16) / 128;
    }
    update.file = SafetensorsBytes(update.delta);
    return update;
  }

  // How far the farthest number of the state is from the path of the honest, an eighth a round.
  // `last_first`: the order of arrival.
  double ErrorOf(const JobSpec& spec, int liars, bool last_first = false) {
    states_ = MakeMemoryStateStore();
    blobs_ = MakeMemoryBlobStore();
    Start(spec);
    completed_.clear();
    federation_->Subscribe("", [this](const JobEvent& event) {
      if (event.type == "round.completed") completed_.push_back(event);
    });
    for (char name = 'a'; name < 'h'; ++name) Connect({std::string(1, name)});
    const std::string id = Submit();
    for (federation_->Tick(); !gateway_.orders.empty(); federation_->Tick()) {
      const auto order = last_first ? gateway_.orders.back() : gateway_.orders.front();
      std::erase_if(gateway_.orders, [&](const auto& one) { return one.client == order.client; });
      const bool lies = order.client[0] >= 'h' - liars;
      const bool training = order.task.kind == ClientTask::Kind::kTrain;
      const ToyUpdate honest = Honest(order);
      const absl::Status done =
          training ? ToyUpload(*federation_, order.client, order.task, lies ? Lie(honest) : honest)
                         .status()
                   : ToyWork(*federation_, order);
      EXPECT_TRUE(done.ok()) << done;
      if (!done.ok()) break;
    }
    view_ = Show(id);
    EXPECT_EQ(view_.state, JobState::kFinished) << view_.reason;
    return view_.state == JobState::kFinished ? DistanceFromPath(spec) : INFINITY;
  }

  double DistanceFromPath(const JobSpec& spec) {
    const Manifest manifest = ToyManifest();
    const auto file = blobs_->Get(view_.state_sha256, 1 << 20);
    const ParameterSet state = *ReadParameterSet(*file, &manifest);
    const ParameterSet initial = *ToyPlanner(spec)("toy")->initial({});
    double farthest = 0;
    for (size_t row = 0; row < state.size(); ++row) {
      for (size_t at = 0; at < state.floats(row).size(); ++at) {
        const double moved = state.floats(row)[at] - initial.floats(row)[at];
        farthest = std::max(farthest, std::abs(moved - spec.job.num_rounds * 0.125));
      }
    }
    return farthest;
  }

  std::string TextOf(size_t round, const std::string& key) const {
    for (const auto& [name, value] : completed_.at(round).data) {
      if (name == key && std::holds_alternative<std::string>(value)) {
        return std::get<std::string>(value);
      }
    }
    return "absent";
  }

  float lie_ = -100;
  JobView view_;
  std::vector<JobEvent> completed_;
};

TEST_F(RobustRoundTest, OneLiarBreaksTheMeanAndNoneOfTheRules) {
  EXPECT_LT(ErrorOf(RobustToy("none", 0), 0), 0.02);
  EXPECT_GT(ErrorOf(RobustToy("none", 0), 1), 20);
  for (const char* rule : {"median", "trimmed-mean", "krum", "multi-krum", "bulyan",
                           "geometric-median", "centred-clipping"}) {
    EXPECT_LT(ErrorOf(RobustToy(rule, 1), 1), 0.1) << rule;
    const std::string hash = view_.state_hash;
    EXPECT_LT(ErrorOf(RobustToy(rule, 1), 1, /*last_first=*/true), 0.1) << rule;
    EXPECT_EQ(view_.state_hash, hash) << rule;
  }
}

TEST_F(RobustRoundTest, AWeightThatALiarClaimsCountsForNothing) {
  JobSpec spec = RobustToy("geometric-median", 1);
  spec.strategy.weighting = "tokens";  // and ToyTrain draws them
  EXPECT_LT(ErrorOf(spec, 1), 0.1);
}

TEST_F(RobustRoundTest, WhoWasLeftOutIsToldAndSurvivesARestart) {
  ErrorOf(RobustToy("multi-krum", 1), 1);
  const std::vector<std::string>& left_out = view_.rounds[0].figures.left_out;
  EXPECT_EQ(left_out.size(), 3u);  // n - f - 2 = 4 of 7 are kept
  EXPECT_EQ(left_out.back(), "g");
  EXPECT_NE(TextOf(0, "left_out").find("g"), std::string::npos);
  EXPECT_EQ(completed_[0].Number("scaled", -1), 0);
  Restart(RobustToy("multi-krum", 1));
  EXPECT_EQ(Show(view_.id).rounds[0].figures.left_out, left_out);
  ErrorOf(RobustToy("median", 1), 1);
  EXPECT_EQ(TextOf(0, "left_out"), "");  // no update is good or bad as a whole
  ErrorOf(RobustToy("none", 0), 0);
  EXPECT_EQ(TextOf(0, "left_out"), "absent");
}

// Seven updates of ten numbers near 1/8 have norms near 0.4; the lie's is 9.5.
TEST_F(RobustRoundTest, TheNormBoundTakesTheStrengthFromABoost) {
  lie_ = -3;
  JobSpec spec = RobustToy("norm-bound", 0);
  spec.robust.norm_bound = 1;
  EXPECT_LT(ErrorOf(spec, 1), 0.15);  // two rounds of (1/8 + 0.32) / 7
  EXPECT_EQ(completed_[0].Number("scaled"), 1);
  const std::string hash = view_.state_hash;
  EXPECT_LT(ErrorOf(spec, 1, /*last_first=*/true), 0.15);
  EXPECT_EQ(view_.state_hash, hash);
  spec.robust.norm_bound = 1000;  // scales nobody: the mean, to the last bit
  ErrorOf(spec, 1);
  EXPECT_EQ(completed_[0].Number("scaled"), 0);
  const std::string unbounded = view_.state_hash;
  ErrorOf(RobustToy("none", 0), 1);
  EXPECT_EQ(view_.state_hash, unbounded);
}

// Norm 316, more than ten times the bound: no training gives that, and scaling it would be too
// kind.
TEST_F(RobustRoundTest, AnUpdateFarAboveTheNormBoundIsRefusedInPlainAndAfterDecoding) {
  for (const char* rule : {"norm-bound", "median"}) {
    for (const char* codec : {"none", "bf16"}) {
      JobSpec spec = RobustToy(rule, 1);
      spec.robust.norm_bound = 1;
      spec.compression.codec = codec;
      states_ = MakeMemoryStateStore();
      blobs_ = MakeMemoryBlobStore();
      Start(spec);
      for (char name = 'a'; name < 'h'; ++name) Connect({std::string(1, name)});
      const std::string id = Submit();
      OpenFirstRound();
      const auto order = Take("g");
      ToyUpdate lie = Lie(Honest(order));
      if (IsCoded(spec)) {
        const PublicContext shared(spec, ToyManifest(), 1, nullptr, nullptr);
        lie.file = *(*JobCodec(spec, ToyManifest()))->Encode(lie.delta, shared.context());
      }
      const absl::Status refused = ToyUpload(*federation_, "g", order.task, lie).status();
      EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << refused;
      EXPECT_EQ(RemedyOf(refused), Remedy::kLeaveRun);
      EXPECT_NE(refused.message().find("L2 norm: got 316.2"), std::string_view::npos) << refused;
      EXPECT_NE(refused.message().find("want at most 10, "), std::string_view::npos) << refused;
      EXPECT_TRUE(Show(id).rounds[0].reported.empty());
      gateway_.orders.clear();
    }
  }
}

// An attempt that ends with fewer than the rule needs is abandoned like any other without quorum.
TEST_F(RobustRoundTest, TooFewForTheRuleAbandonTheAttempt) {
  JobSpec spec = RobustToy("krum", 2);  // needs 7
  spec.job.min_clients = 2;
  Start(spec);
  for (char name = 'a'; name < 'h'; ++name) Connect({std::string(1, name)});
  const std::string id = Submit();
  OpenFirstRound();
  for (const char* client : {"a", "b", "c", "d", "e", "f"}) {
    ASSERT_TRUE(ToyWork(*federation_, Take(client)).ok());
  }
  Pass(spec.job.round_deadline);
  ASSERT_FALSE(Show(id).rounds.empty());
  EXPECT_EQ(Show(id).rounds[0].state, RoundState::kAbandoned);
  EXPECT_EQ(Show(id).round, 0u);
}

// ---- fltrust: "a" is the client whose data are trusted

JobSpec TrustingToy() {
  JobSpec spec = RobustToy("fltrust", 0);
  spec.robust.trusted_client = "a";
  return spec;
}

TEST_F(RobustRoundTest, ATrustedClientStandsAgainstLiarsInTheMajority) {
  EXPECT_GT(ErrorOf(RobustToy("none", 0), 5), 100);
  EXPECT_GT(ErrorOf(RobustToy("median", 3), 5), 100);
  EXPECT_LT(ErrorOf(TrustingToy(), 5), 0.1);  // "b" alone agrees with "a"
  const std::string hash = view_.state_hash;
  for (const RoundView& round : view_.rounds) {
    EXPECT_EQ(round.figures.left_out, (std::vector<std::string>{"c", "d", "e", "f", "g"}));
  }
  EXPECT_LT(ErrorOf(TrustingToy(), 5, /*last_first=*/true), 0.1);
  EXPECT_EQ(view_.state_hash, hash);
}

// With a single honest client beside it the result has that one's direction and the length of the
// reference: b |a| / |b|, by hand from the definition.
TEST_F(RobustRoundTest, TheTrustedUpdateItselfIsNotWeighed) {
  JobSpec spec = TrustingToy();
  spec.job.num_rounds = 1;
  ErrorOf(spec, 5);
  ClientTask first;
  first.round = 1;
  const ToyUpdate a = Honest({"a", first}), b = Honest({"b", first});
  const auto norm = [](const ParameterSet& set) {
    double square = 0;
    for (size_t row = 0; row < set.size(); ++row) {
      for (const float value : set.floats(row)) square += static_cast<double>(value) * value;
    }
    return std::sqrt(square);
  };
  const double factor = norm(a.delta) / norm(b.delta);
  const Manifest manifest = ToyManifest();
  const ParameterSet state =
      *ReadParameterSet(*blobs_->Get(view_.state_sha256, 1 << 20), &manifest);
  const ParameterSet initial = *ToyPlanner(spec)("toy")->initial({});
  for (size_t row = 0; row < state.size(); ++row) {
    for (size_t at = 0; at < state.floats(row).size(); ++at) {
      const double want = initial.floats(row)[at] + factor * b.delta.floats(row)[at];
      EXPECT_NEAR(state.floats(row)[at], want, 1e-6) << row << " " << at;
    }
  }
}

// Nobody agrees with the reference: the round counts, the state stays, and so it is after a
// restart.
TEST_F(RobustRoundTest, ARoundThatTrustsNobodyMovesNothing) {
  JobSpec spec = TrustingToy();
  spec.strategy.name = "fedavgm";
  EXPECT_DOUBLE_EQ(ErrorOf(spec, 6), 2 * 0.125);  // as far from the path as the start
  EXPECT_EQ(view_.rounds[1].figures.left_out.size(), 6u);
  const std::string hash = view_.state_hash;
  Restart(spec);
  EXPECT_EQ(Show(view_.id).state_hash, hash);
  EXPECT_EQ(Show(view_.id).rounds[1].figures.left_out.size(), 6u);
}

TEST_F(RobustRoundTest, ARestartAmidARoundOfATrustedClientChangesNothing) {
  ErrorOf(TrustingToy(), 0);
  const std::string hash = view_.state_hash;
  states_ = MakeMemoryStateStore();
  blobs_ = MakeMemoryBlobStore();
  Start(TrustingToy());
  for (char name = 'a'; name < 'h'; ++name) Connect({std::string(1, name)});
  const std::string id = Submit();
  for (int updates = 0; Show(id).state != JobState::kFinished; federation_->Tick()) {
    ASSERT_FALSE(gateway_.orders.empty());
    const auto order = gateway_.orders.front();
    gateway_.orders.pop_front();
    const bool training = order.task.kind == ClientTask::Kind::kTrain;
    const absl::Status done =
        training ? ToyUpload(*federation_, order.client, order.task, Honest(order)).status()
                 : ToyWork(*federation_, order);
    ASSERT_TRUE(done.ok()) << done;
    updates += training;
    if (!training || updates % 3 != 1) continue;  // the trusted one's, which comes first, is there
    Restart(TrustingToy());
    for (char name = 'a'; name < 'h'; ++name) Connect({std::string(1, name)});
  }
  EXPECT_EQ(Show(id).state_hash, hash);
}

}  // namespace
}  // namespace rivulet
