// Jobs of coefficients whose agent joins after 100 rounds, whose coordinator dies between
// snapshots.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/integration/deployment.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::vector<std::string> kAgent = {std::string(RIVULET_BINARY_DIR) + "/bin/rivulet-client"};

std::string Coefficients(int rounds) {
  return "[job]\nnum-rounds = " + std::to_string(rounds) +
         "\nmin-clients = 2\nmin-available-clients = 2\nselection = \"all\"\n"
         "[lora]\nlora-r = 1\nlora-target-modules = [\"q_proj\", \"v_proj\"]\nlora-dropout = 0.0\n"
         "[data]\ndataset = \"fortunes\"\nformat = \"text\"\nseparator = \"\\n%\\n\"\nseq-length = "
         "16\n"
         "held-out-max-blocks = 1\n"
         "[train]\nestimator = \"central\"\noptimizer = \"sgd\"\nlearning-rate = 1e-3\nmax-steps = "
         "1\n"
         "per-device-train-batch-size = 1\n"
         "[scalars]\nenabled = true\n";
}

json Shown(Deployment& deployment) {
  const Finished shown = deployment.Operate({"job", "show", "@last", "--format", "json"});
  return shown.code == 0 ? json::parse(shown.out) : json::object();
}

uint64_t RoundOf(Deployment& deployment) { return Shown(deployment).value("round", uint64_t{0}); }

void WaitForRound(Deployment& deployment, uint64_t round) {
  for (int wait = 0; wait < 3000 && RoundOf(deployment) < round; ++wait) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

// Coordinator and agents, and the job of these keys.
void Begin(Deployment& deployment, const std::string& keys,
           const std::vector<std::string>& agents) {
  std::ofstream out(deployment.folder() / "data.txt");
  for (int record = 0; record < 40; ++record)
    out << "The river rose in the night. " << record << "\n%\n";
  out.close();
  const fs::path job = deployment.folder() / "job.toml";
  std::ofstream(job) << keys << "[model]\nname = \"" << ToyBaseModel().string() << "\"\n";
  deployment.StartCoordinator();
  for (const std::string& name : agents) {
    deployment.StartAgent(name, kAgent, deployment.folder() / "data.txt");
  }
  const Finished submitted = deployment.Operate({"job", "submit", job.string()});
  EXPECT_EQ(submitted.code, 0) << submitted.err;
}

// Everything that `latecomer` says, who starts when the job of these keys has come to round
// `round`.
std::string SaidBy(const std::string& latecomer, uint64_t round, const std::string& keys,
                   const std::vector<std::string>& others) {
  Deployment deployment;
  Begin(deployment, keys, others);
  WaitForRound(deployment, round);
  deployment.StartAgent(latecomer, kAgent, deployment.folder() / "data.txt");
  const Finished watched = deployment.Operate({"job", "watch", "@last"});
  EXPECT_EQ(watched.code, 0) << watched.err;
  return deployment.agent(latecomer).err();
}

TEST(AbsentAgent, MakesTheStateOfToday) {
  const std::string said = SaidBy("cid", 100, Coefficients(160), {"ada", "bob"});
  EXPECT_THAT(said, ::testing::ContainsRegex("state made from 1[0-9][0-9][0-9] bytes of log"));
  EXPECT_THAT(said, ::testing::HasSubstr("state made from 12 bytes of log"));  // and on from there
  EXPECT_THAT(said, ::testing::Not(::testing::HasSubstr("DIGEST_MISMATCH")));
  EXPECT_THAT(said, ::testing::HasSubstr("trained"));
}

// Files of states that the coordinator has: a log of this job is shorter than a kilobyte.
int StatesOnDisk(const Deployment& deployment) {
  int states = 0;
  for (const auto& blob : fs::directory_iterator(deployment.folder() / "state" / "blob")) {
    std::error_code gone;
    const uintmax_t bytes = fs::file_size(blob.path(), gone);
    states += !gone && bytes > 1000;
  }
  return states;
}

// The hash of the last state when the coordinator is killed in these rounds.
std::string HashOfFortyRounds(const std::vector<uint64_t>& kills) {
  Deployment deployment;
  Begin(deployment, Coefficients(40), {"ada", "bob"});
  for (const uint64_t round : kills) {
    WaitForRound(deployment, round);
    deployment.KillCoordinator();
    EXPECT_EQ(StatesOnDisk(deployment), 1) << "round " << round;  // of round 0
    deployment.StartCoordinator();
  }
  json shown = json::object();
  for (int wait = 0; wait < 1200 && shown.value("state", "") != "finished"; ++wait) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    shown = Shown(deployment);
  }
  EXPECT_EQ(shown.value("state", ""), "finished");
  const fs::path folder = deployment.folder() / "adapter";
  const Finished got = deployment.Operate({"job", "download", "@last", "-o", folder.string()});
  EXPECT_EQ(got.code, 0) << got.err;  // and its hash is the one that is shown
  return shown.value("state_hash", "");
}

TEST(AbsentCoordinator, ReachesTheSameHashKilledBetweenSnapshots) {
  const std::string quiet = HashOfFortyRounds({});
  EXPECT_EQ(quiet.size(), 64u);
  EXPECT_EQ(HashOfFortyRounds({3, 12, 24}), quiet);
}

constexpr char kOfSessions[] =
    "[job]\nnum-rounds = 40\nmin-clients = 4\nmin-available-clients = 4\nselection = \"all\"\n"
    "[lora]\nlora-r = 1\nlora-target-modules = [\"q_proj\", \"v_proj\"]\nlora-dropout = 0.0\n"
    "[data]\ndataset = \"fortunes\"\nformat = \"text\"\nseparator = \"\\n%\\n\"\nseq-length = 16\n"
    "held-out-max-blocks = 1\n"
    "[train]\nestimator = \"central\"\noptimizer = \"sgd\"\nlearning-rate = 1e-3\nmax-steps = 1\n"
    "per-device-train-batch-size = 1\n"
    "[strategy]\nweighting = \"uniform\"\n[secure-aggregation]\nenabled = true\n"
    "[scalars]\nenabled = true\ndrawn-from = \"session\"\n";

// Records of 20 bytes, each with the root of a session that it had no part in.
TEST(AbsentAgent, ReplaysDirectionsOfSessionsThatItWasNotIn) {
  const std::string said = SaidBy("eve", 5, kOfSessions, {"ada", "bob", "cid", "dee"});
  EXPECT_THAT(said, ::testing::ContainsRegex("state made from [1-9][0-9]0 bytes of log"));
  EXPECT_THAT(said, ::testing::HasSubstr("state made from 20 bytes of log"));
  EXPECT_THAT(said, ::testing::Not(::testing::HasSubstr("DIGEST_MISMATCH")));
  EXPECT_THAT(said, ::testing::HasSubstr("trained"));
}

}  // namespace
}  // namespace rivulet
