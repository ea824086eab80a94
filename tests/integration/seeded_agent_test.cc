#include <gtest/gtest.h>

#include "common/io/file.h"
#include "tests/integration/deployment.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

const std::string kOwnAgent = std::string(RIVULET_BINARY_DIR) + "/bin/rivulet-client";
const std::string kSeededRounding = "--seeded-rounding";

bool Has(const std::string& program, std::string_view text) {
  const auto bytes = ReadFile(program, uint64_t{1} << 30);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() && bytes->find(text) != std::string::npos;
}

// Words that others can compute would show what a mask hides: the agent has neither a setting for
// them nor the code.
TEST(SeededRounding, IsRefusedByTheAgentsOwnProgramWhichDoesNotHaveIt) {
  Deployment deployment;
  const auto run = [&](const std::vector<std::string>& program, const Options& changes) {
    deployment.Enrol("ada");
    return deployment.Run(deployment.AgentCommand("ada", program, "/dev/null", changes));
  };
  const Finished before = run({kOwnAgent, kSeededRounding}, {});
  EXPECT_EQ(before.code, 2) << before.err;
  EXPECT_NE(before.err.find(kSeededRounding), std::string::npos) << before.err;
  const Finished after = run({kOwnAgent}, {{kSeededRounding, std::nullopt}});
  EXPECT_EQ(after.code, 2) << after.err;
  EXPECT_NE(after.err.find(kSeededRounding), std::string::npos) << after.err;
  const fs::path config = deployment.folder() / "client.toml";
  WriteText(config, "seeded-rounding = true\n");
  const Finished configured = run({kOwnAgent}, {{"--config", config.string()}});
  EXPECT_EQ(configured.code, 3) << configured.err;
  EXPECT_NE(configured.err.find("seeded-rounding"), std::string::npos) << configured.err;
  EXPECT_EQ(run({SEEDED_AGENT}, {}).code, 2);  // nor does the tests' agent round so unasked

  constexpr std::string_view kClass = "SeededWords";  // its name stands in a program that has it
  EXPECT_TRUE(Has(SEEDED_AGENT, kClass));
  EXPECT_FALSE(Has(kOwnAgent, kClass));
}

}  // namespace
}  // namespace rivulet
