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

TEST(AbsentAgent, MakesTheStateOfToday) {
  Deployment deployment;
  const fs::path data = deployment.folder() / "data.txt";
  std::ofstream out(data);
  for (int record = 0; record < 40; ++record)
    out << "The river rose in the night. " << record << "\n%\n";
  out.close();
  const fs::path job = deployment.folder() / "job.toml";
  std::ofstream(job) << kCoefficients << "[model]\nname = \"" << ToyBaseModel().string() << "\"\n";
  const std::vector<std::string> program = {std::string(RIVULET_BINARY_DIR) +
                                            "/bin/rivulet-client"};
  deployment.StartCoordinator();
  for (const char* name : {"ada", "bob"}) deployment.StartAgent(name, program, data);
  const Finished submitted = deployment.Operate({"job", "submit", job.string()});
  ASSERT_EQ(submitted.code, 0) << submitted.err;
  for (int wait = 0; wait < 3000 && RoundOf(deployment) < 100; ++wait) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  deployment.StartAgent("cid", program, data);
  const Finished watched = deployment.Operate({"job", "watch", "@last"});
  EXPECT_EQ(watched.code, 0) << watched.err;
  const std::string said = deployment.agent("cid").err();
  EXPECT_THAT(said, ::testing::ContainsRegex("state made from 1[0-9][0-9][0-9] bytes of log"));
  EXPECT_THAT(said, ::testing::HasSubstr("state made from 12 bytes of log"));  // and on from there
  EXPECT_THAT(said, ::testing::Not(::testing::HasSubstr("DIGEST_MISMATCH")));
  EXPECT_THAT(said, ::testing::HasSubstr("trained"));
}

}  // namespace
}  // namespace rivulet
