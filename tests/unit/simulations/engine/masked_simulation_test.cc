// Whole jobs under masks: with a coordinator that only reads, and with clients that vanish at every
// point of a round.
#include <gtest/gtest.h>

#include <cmath>

#include "common/formats/safetensors.h"
#include "simulations/engine/drop_out.h"
#include "tests/unit/simulations/engine/letters.h"

namespace rivulet {
namespace {

JobSpec OneRound(bool masked) {
  JobSpec spec = testing::LetterJob();
  spec.job.num_rounds = 1;
  spec.job.min_clients = 4;
  spec.train.max_steps = 1;
  spec.data.held_out_fraction = 0;
  spec.secure_aggregation.enabled = masked;
  spec.secure_aggregation.range = 1;
  return spec;
}

SimulationResult Simulated(JobSpec spec, const std::vector<std::string>& clients) {
  spec.job.min_available_clients = static_cast<int>(clients.size());
  SimulationResult result = testing::RunLetters(spec, clients);
  EXPECT_EQ(result.view.state, JobState::kFinished) << result.view.reason;
  return result;
}

// Largest difference of two published states.
double Difference(const SimulationResult& a, const SimulationResult& b) {
  const auto left = ReadParameterSet(a.state_file), right = ReadParameterSet(b.state_file);
  EXPECT_TRUE(left.ok() && right.ok());
  double most = 0;
  for (size_t row = 0; row < left->size(); ++row) {
    for (size_t at = 0; at < left->floats(row).size(); ++at) {
      most = std::max(most, std::abs(double{left->floats(row)[at]} - right->floats(row)[at]));
    }
  }
  return most;
}

// Values of 16 bits over the range: what rounding adds to a mean is below two steps of it.
double TwoSteps(const JobSpec& spec) { return 2 * spec.secure_aggregation.range / 32767; }

TEST(MaskedSimulation, OfASemiHonestCoordinatorIsThePlainOne) {
  const std::vector<std::string> clients = {"ada", "bob", "cid", "dot", "eva", "fay"};
  JobSpec masked = OneRound(true);
  masked.secure_aggregation.mode = "semi-honest";
  const SimulationResult hidden = Simulated(masked, clients);
  EXPECT_EQ(hidden.view.rounds.back().reported, clients);
  EXPECT_GT(hidden.view.protocol_bytes_up, 0);
  const SimulationResult open = Simulated(OneRound(false), clients);
  EXPECT_EQ(open.view.protocol_bytes_up, 0);
  EXPECT_LT(Difference(hidden, open), TwoSteps(masked));
}

std::vector<std::string> Sixteen() {
  std::vector<std::string> names;
  for (int number = 10; number < 26; ++number) names.push_back("c" + std::to_string(number));
  return names;
}

// Clients by where they vanish; at most six of sixteen, or ten could not open the sum.
std::map<DropPoint, int> DropsOf(const JobSpec& spec) {
  std::map<DropPoint, int> drops;
  for (const std::string& client : Sixteen()) {
    const auto point = DropPointOf(spec.simulate.drop_rate, true, spec.job.seed, 1, client, 1);
    if (point) ++drops[*point];
  }
  return drops;
}

TEST(MaskedSimulation, TheSumIsThatOfTheSurvivorsWhereverOthersVanish) {
  JobSpec masked = OneRound(true);
  masked.simulate.drop_rate = 0.35;
  // A seed with which every point loses somebody, and six are lost at most.
  const auto suits = [&masked] {
    int all = 0;
    const std::map<DropPoint, int> drops = DropsOf(masked);
    for (const auto& [point, count] : drops) all += count;
    return drops.size() == 5 && all <= 6;
  };
  while (!suits()) ++masked.job.seed;
  std::vector<std::string> survivors;
  for (const std::string& client : Sixteen()) {
    const auto point = DropPointOf(masked.simulate.drop_rate, true, masked.job.seed, 1, client, 1);
    if (!point || *point > DropPoint::kUpdate) survivors.push_back(client);
  }
  const SimulationResult hidden = Simulated(masked, Sixteen());
  EXPECT_EQ(hidden.view.rounds.size(), 1u);
  EXPECT_EQ(hidden.view.rounds.back().reported, survivors);
  JobSpec plain = OneRound(false);
  plain.job.seed = masked.job.seed;
  EXPECT_LT(Difference(hidden, Simulated(plain, survivors)), TwoSteps(masked));
}

// Rotations are of the session, so every run is another: 20 of 20 passed.
TEST(MaskedSimulation, LearnsFromSigns) {
  JobSpec spec = testing::LetterJob();
  spec.secure_aggregation.enabled = true;
  spec.secure_aggregation.range = 2;
  spec.compression.codec = "drive";
  spec.job.min_clients = 4;
  const JobView view = Simulated(spec, {"ada", "bob", "cid", "dot", "eva", "fay"}).view;
  ASSERT_EQ(view.evaluations.size(), 2u);
  EXPECT_LT(view.evaluations[1].loss, view.evaluations[0].loss - 0.05);
  EXPECT_LT(view.bytes_up, view.raw_bytes_up / 9);  // 3 bits in place of 32
}

TEST(DropOut, PlainUpdatesAreLostBeforeTheyAreSentAndNobodyWithoutARate) {
  int lost = 0;
  for (const std::string& client : Sixteen()) {
    EXPECT_FALSE(DropPointOf(0, true, 1, 1, client, 1).has_value());
    const auto plain = DropPointOf(0.5, false, 1, 1, client, 1);
    EXPECT_EQ(plain.has_value(), DropPointOf(0.5, true, 1, 1, client, 1).has_value());
    EXPECT_EQ(plain.value_or(DropPoint::kUpdate), DropPoint::kUpdate);
    lost += plain.has_value();
  }
  EXPECT_GT(lost, 0);
  EXPECT_LT(lost, 16);
}

}  // namespace
}  // namespace rivulet
