// An agent that joins a job of coefficients after 100 rounds.
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

constexpr char kCoefficients[] =
    "[job]\nnum-rounds = 160\nmin-clients = 2\nmin-available-clients = 2\nselection = \"all\"\n"
    "[lora]\nlora-r = 1\nlora-target-modules = [\"q_proj\", \"v_proj\"]\nlora-dropout = 0.0\n"
    "[data]\ndataset = \"fortunes\"\nformat = \"text\"\nseparator = \"\\n%\\n\"\nseq-length = 16\n"
    "held-out-max-blocks = 1\n"
    "[train]\nestimator = \"central\"\noptimizer = \"sgd\"\nlearning-rate = 1e-3\nmax-steps = 1\n"
    "per-device-train-batch-size = 1\n"
    "[scalars]\nenabled = true\n";

uint64_t RoundOf(Deployment& deployment) {
  const Finished shown = deployment.Operate({"job", "show", "@last", "--format", "json"});
  return shown.code == 0 ? json::parse(shown.out)["round"].get<uint64_t>() : 0;
}

// Everything that `latecomer` says, who starts when the job of these keys has come to round
// `round`.
std::string SaidBy(const std::string& latecomer, uint64_t round, const std::string& keys,
                   const std::vector<std::string>& others) {
  Deployment deployment;
  const fs::path data = deployment.folder() / "data.txt";
  std::ofstream out(data);
  for (int record = 0; record < 40; ++record)
    out << "The river rose in the night. " << record << "\n%\n";
  out.close();
  const fs::path job = deployment.folder() / "job.toml";
  std::ofstream(job) << keys << "[model]\nname = \"" << ToyBaseModel().string() << "\"\n";
  const std::vector<std::string> program = {std::string(RIVULET_BINARY_DIR) +
                                            "/bin/rivulet-client"};
  deployment.StartCoordinator();
  for (const std::string& name : others) deployment.StartAgent(name, program, data);
  const Finished submitted = deployment.Operate({"job", "submit", job.string()});
  EXPECT_EQ(submitted.code, 0) << submitted.err;
  for (int wait = 0; wait < 3000 && RoundOf(deployment) < round; ++wait) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  deployment.StartAgent(latecomer, program, data);
  const Finished watched = deployment.Operate({"job", "watch", "@last"});
  EXPECT_EQ(watched.code, 0) << watched.err;
  return deployment.agent(latecomer).err();
}

TEST(AbsentAgent, MakesTheStateOfToday) {
  const std::string said = SaidBy("cid", 100, kCoefficients, {"ada", "bob"});
  EXPECT_THAT(said, ::testing::ContainsRegex("state made from 1[0-9][0-9][0-9] bytes of log"));
  EXPECT_THAT(said, ::testing::HasSubstr("state made from 12 bytes of log"));  // and on from there
  EXPECT_THAT(said, ::testing::Not(::testing::HasSubstr("DIGEST_MISMATCH")));
  EXPECT_THAT(said, ::testing::HasSubstr("trained"));
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
