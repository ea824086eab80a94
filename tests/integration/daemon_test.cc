#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "common/io/file.h"
#include "tests/integration/deployment.h"
#include "tests/integration/metric.h"

namespace rivulet {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::HasSubstr;

const std::vector<std::string> kToy = {TOY_AGENT};

std::filesystem::path WriteJob(const Deployment& deployment, const std::string& keys) {
  const std::filesystem::path path = deployment.folder() / "job.toml";
  std::ofstream(path) << SmallJob(keys);
  return path;
}

void StartThree(Deployment& deployment, const Process::Environment& environment = {}) {
  for (const char* name : {"ada", "bob", "cid"}) {
    deployment.StartAgent(name, kToy, "/dev/null", environment);
  }
}

constexpr char kFourRounds[] = "num-rounds = 4\nmin-clients = 3\nclients-per-round = 3\n";

// The job's final hash when nothing goes wrong; computed once.
const std::string& QuietHash() {
  static const std::string hash = [] {
    Deployment deployment;
    deployment.StartCoordinator();
    StartThree(deployment);
    const json view = json::parse(deployment.SubmitAndWatch(WriteJob(deployment, kFourRounds)));
    EXPECT_EQ(view["state"], "finished");
    EXPECT_EQ(view["round"], 4);
    return view["state_hash"].get<std::string>();
  }();
  return hash;
}

void Submit(Deployment& deployment) {
  const Finished submitted =
      deployment.Operate({"job", "submit", WriteJob(deployment, kFourRounds).string()});
  EXPECT_EQ(submitted.code, 0) << submitted.err;
}

std::string WaitForEnd(Deployment& deployment) {
  const Finished watched = deployment.Operate({"job", "watch", "@last"});
  EXPECT_EQ(watched.code, 0) << watched.err << deployment.coordinator().err();
  return deployment.StateHash();
}

json Show(Deployment& deployment) {
  const Finished shown = deployment.Operate({"job", "show", "@last", "--format", "json"});
  const json view = json::parse(shown.out, nullptr, false);
  return view.is_object() ? view : json::object({{"rounds", json::array()}});
}

// Clients whose updates an open round has so far; nothing when no round is open.
std::optional<size_t> ReportedInOpenRound(const json& view) {
  if (view["rounds"].empty() || view["rounds"].back()["state"] != "open") return std::nullopt;
  return view["rounds"].back()["reported"].size();
}

// "1.1 2.1 ": rounds and their attempts.
std::string Attempts(const json& view) {
  std::string text;
  for (const json& round : view["rounds"]) {
    text += round["round"].dump() + "." + round["attempt"].dump() + " ";
  }
  return text;
}

// kill -9 and a new start; what the new one found, seen before any agent can go on.
json KillAndRestart(Deployment& deployment) {
  deployment.KillCoordinator();
  for (const char* name : {"ada", "bob", "cid"}) deployment.agent(name).Signal(SIGSTOP);
  deployment.StartCoordinator();
  const json found = Show(deployment);
  for (const char* name : {"ada", "bob", "cid"}) deployment.agent(name).Signal(SIGCONT);
  return found;
}

// Whenever: some kills find a round open, some the coordinator without its agents. The next test is
// of one that finds a round open.
TEST(Daemon, ACoordinatorKilledAtAnyTimeReachesTheSameHash) {
  const std::string& quiet = QuietHash();
  for (const int delay_ms : {60, 170, 290, 420}) {
    Deployment deployment;
    deployment.StartCoordinator();
    StartThree(deployment, {{"TOY_DELAY_MS", "120"}});
    Submit(deployment);
    ASSERT_TRUE(deployment.agent("ada").WaitForError("round 1 attempt 1: begun"));
    for (int kill = 0; kill < 2; ++kill) {
      std::this_thread::sleep_for(milliseconds(delay_ms));
      deployment.KillCoordinator();
      deployment.StartCoordinator();
    }
    EXPECT_EQ(WaitForEnd(deployment), quiet) << "killed after " << delay_ms << " ms";
    EXPECT_EQ(Attempts(Show(deployment)), "1.1 2.1 3.1 4.1 ") << "a round was repeated";
  }
}

TEST(Daemon, ARoundThatIsOpenAtTheKillGoesOnWithTheUpdatesItHas) {
  Deployment deployment;
  deployment.StartCoordinator();
  StartThree(deployment, {{"TOY_DELAY_MS", "300"}});
  Submit(deployment);
  ASSERT_TRUE(deployment.agent("cid").WaitForError("round 1 attempt 1: begun"));
  deployment.agent("cid").Signal(SIGSTOP);  // so that this round waits for it, or a later one
  ASSERT_TRUE(WaitUntil([&] { return ReportedInOpenRound(Show(deployment)) == 2; }));
  const json before = Show(deployment)["rounds"].back();
  const json after = KillAndRestart(deployment)["rounds"].back();
  EXPECT_EQ(before["reported"], json({"ada", "bob"}));
  for (const char* key : {"round", "attempt", "state", "cohort", "reported"}) {
    EXPECT_EQ(after[key], before[key]) << key;
  }
  EXPECT_EQ(WaitForEnd(deployment), QuietHash());
  EXPECT_EQ(Attempts(Show(deployment)), "1.1 2.1 3.1 4.1 ");
}

TEST(Daemon, KilledAgentsComeBackAndTheHashIsTheSame) {
  Deployment deployment;
  deployment.StartCoordinator();
  const Process::Environment slow = {{"TOY_DELAY_MS", "150"}};
  StartThree(deployment, slow);
  Submit(deployment);
  for (const char* name : {"ada", "cid", "bob", "ada"}) {
    std::this_thread::sleep_for(milliseconds(180));
    deployment.agent(name).Signal(SIGKILL);
    deployment.agent(name).Wait();
    deployment.StartAgent(name, kToy, "/dev/null", slow);
  }
  EXPECT_EQ(WaitForEnd(deployment), QuietHash());
  EXPECT_EQ(Metric(deployment, "rivulet_updates_accepted_total"), 12);  // 4 rounds of 3, each once
}

TEST(Daemon, TheAdapterThatIsDownloadedHasTheHashThatIsShown) {
  Deployment deployment;
  deployment.StartCoordinator();
  StartThree(deployment);
  const json view = json::parse(deployment.SubmitAndWatch(WriteJob(deployment, kFourRounds)));
  const std::string adapter = (deployment.folder() / "adapter").string();
  const Finished got = deployment.Operate({"job", "download", "@last", "-o", adapter});
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_THAT(got.out, HasSubstr(view["state_hash"].get<std::string>()));
  EXPECT_TRUE(std::filesystem::exists(adapter + "/adapter_config.json"));
  EXPECT_TRUE(std::filesystem::exists(adapter + "/adapter_model.safetensors"));
}

TEST(Daemon, AnUpdateWithNanIsRefusedAndTheAgentSaysSo) {
  Deployment deployment;
  deployment.StartCoordinator();
  deployment.StartAgent("ada", kToy, "/dev/null");
  deployment.StartAgent("bob", kToy, "/dev/null", {{"TOY_NAN", "1"}});
  const Finished run = deployment.Operate(
      {"job", "submit",
       WriteJob(deployment, "num-rounds = 1\nmin-clients = 2\nclients-per-round = 2\n").string(),
       "--watch"});
  EXPECT_EQ(run.code, 5) << run.err;
  EXPECT_THAT(run.err, HasSubstr("bad_update"));
}

TEST(Daemon, TwoCoordinatorsOnOneStateDirectoryAreRefused) {
  Deployment deployment;
  deployment.StartCoordinator();
  const Finished second =
      RunToEnd({std::string(RIVULET_BINARY_DIR) + "/bin/rivulet-coordinator", "serve",
                "--listen-agents", "127.0.0.1:0", "--listen-operators", "", "--listen-ops", "",
                "--state-dir", (deployment.folder() / "state").string(), "--tls-dir",
                (deployment.folder() / "pki" / "coordinator").string()},
               deployment.folder() / "second");
  EXPECT_EQ(second.code, 8) << second.err;
}

TEST(Daemon, APortInUseIsSaidAndEndsWithFour) {
  Deployment deployment;
  deployment.StartCoordinator();
  const Finished second =
      RunToEnd({std::string(RIVULET_BINARY_DIR) + "/bin/rivulet-coordinator", "serve",
                "--listen-agents", deployment.agents_address(), "--listen-operators", "",
                "--listen-ops", "", "--state-dir", (deployment.folder() / "state2").string(),
                "--tls-dir", (deployment.folder() / "pki" / "coordinator").string()},
               deployment.folder() / "second");
  EXPECT_EQ(second.code, 4);
  EXPECT_THAT(second.err, HasSubstr("Address already in use"));
  EXPECT_THAT(second.err, HasSubstr(deployment.agents_address()));
}

TEST(Daemon, AnAgentsCertificateOpensNoOperatorsDoor) {
  Deployment deployment;
  deployment.StartCoordinator();
  const std::filesystem::path pki = deployment.Enrol("ada");
  const Finished listed = deployment.Rivulet(
      {"job", "list", "--coordinator", deployment.agents_address(), "--tls-dir", pki.string()});
  EXPECT_EQ(listed.code, 4);
  EXPECT_THAT(listed.err, HasSubstr("role agent lacks the right"));
}

TEST(Daemon, ACertificateOfAnotherFederationIsRefused) {
  Deployment deployment;
  Deployment other;
  deployment.StartCoordinator();
  const Finished listed =
      deployment.Rivulet({"job", "list", "--coordinator", deployment.agents_address(), "--tls-dir",
                          (other.folder() / "pki" / "operator").string()});
  EXPECT_EQ(listed.code, 4) << listed.err;
}

TEST(Daemon, ATokenEnrolsOnce) {
  Deployment deployment;
  deployment.Enrol("ada");
  const std::string log = (deployment.folder() / "enrolment-log.out").string();
  const auto address = ReadFile(log, 1000);
  ASSERT_TRUE(address.ok());
  const std::string where = address->substr(address->find(' ') + 1);
  const Finished again =
      deployment.Rivulet({"pki", "request", "--enroll", where.substr(0, where.find('\n')),
                          "--token-file", (deployment.folder() / "ada" / "token").string(), "--dir",
                          (deployment.folder() / "again").string(), "--name", "eve"});
  EXPECT_EQ(again.code, 4);
  EXPECT_THAT(again.err, HasSubstr("unknown, used or expired"));
}

TEST(Daemon, BothEndCleanlyOnTerm) {
  Deployment deployment;
  deployment.StartCoordinator();
  deployment.StartAgent("ada", kToy, "/dev/null");
  ASSERT_TRUE(deployment.agent("ada").WaitForError("agent ada of demo-org serves"));
  deployment.agent("ada").Signal(SIGTERM);
  EXPECT_EQ(deployment.agent("ada").Wait(), 0);
  deployment.coordinator().Signal(SIGTERM);
  EXPECT_EQ(deployment.coordinator().Wait(), 0);
}

}  // namespace
}  // namespace rivulet
