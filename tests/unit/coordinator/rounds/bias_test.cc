#include "federation_fixture.h"

// What factor averaging lost, where a round reports it.

namespace rivulet {
namespace {

// One LoRA module of rank 1; ToyTrain moves both factors.
const Manifest& PairManifest() {
  static const Manifest manifest = {{"m.lora_A.weight", DType::kF32, {1, 3}},
                                    {"m.lora_B.weight", DType::kF32, {2, 1}}};
  return manifest;
}

class BiasTest : public FederationTest {
 protected:
  // The bias of the only round, with so many clients.
  std::optional<double> BiasOf(JobSpec spec, int clients, const Manifest& manifest) {
    spec.job.num_rounds = 1;
    spec.job.min_available_clients = clients;
    FederationConfig config;
    config.planner = ToyPlanner(spec, manifest);
    config.background = false;
    states_ = MakeMemoryStateStore();
    federation_ = std::make_unique<Federation>(config, *states_, *blobs_, gateway_, clock_);
    EXPECT_TRUE(federation_->Recover().ok());
    double events = 0;
    const uint64_t subscription = federation_->Subscribe("", [&events](const JobEvent& event) {
      for (const auto& [key, value] : event.data) events += key == "bias";
    });
    for (int client = 0; client < clients; ++client) Connect({"c" + std::to_string(client)});
    const std::string id = Submit();
    EXPECT_TRUE(ToyRun(*federation_, gateway_, manifest).ok());
    EXPECT_EQ(Show(id).state, JobState::kFinished);
    federation_->Unsubscribe(subscription);
    const std::optional<double> bias = Show(id).rounds.at(0).figures.bias;
    EXPECT_EQ(events, bias.has_value());
    return bias;
  }
};

TEST_F(BiasTest, IsKnownWhereItWasComputedAndOtherwiseAbsent) {
  const std::optional<double> some = BiasOf(ToySpec(), 3, PairManifest());
  ASSERT_TRUE(some.has_value());
  EXPECT_GT(*some, 0);
  EXPECT_TRUE(BiasOf(ToySpec(), 64, PairManifest()).has_value());
  EXPECT_EQ(BiasOf(ToySpec(), 65, PairManifest()), std::nullopt);  // too many to look at together
  EXPECT_EQ(BiasOf(ToySpec(), 3, ToyManifest()), std::nullopt);    // no factors
  JobSpec exact = ToySpec();
  exact.strategy.aggregation = "freeze-a";
  EXPECT_EQ(BiasOf(exact, 3, {PairManifest()[1]}), 0);
}

}  // namespace
}  // namespace rivulet
