// Signals with work in hand, disks without room, and --insecure: what runs on goes on to the same
// model, what stops says so.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/integration/deployment.h"
#include "tests/integration/metric.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

const std::vector<std::string> kToy = {TOY_AGENT};
constexpr char kThreeRounds[] = "num-rounds = 3\nmin-clients = 2\nclients-per-round = 2\n";

void Submit(Deployment& deployment, const std::string& keys = kThreeRounds) {
  const fs::path path = deployment.folder() / "job.toml";
  std::ofstream(path) << SmallJob(keys);
  const Finished run = deployment.Operate({"job", "submit", path.string()});
  ASSERT_EQ(run.code, 0) << run.err;
}

void StartTwo(Deployment& deployment, const Process::Environment& environment = {}) {
  for (const char* name : {"ada", "bob"}) {
    deployment.StartAgent(name, kToy, "/dev/null", environment);
  }
}

std::string WaitForEnd(Deployment& deployment) {
  const Finished watched = deployment.Operate({"job", "watch", "@last"});
  EXPECT_EQ(watched.code, 0) << watched.err << deployment.coordinator().err();
  return deployment.StateHash();
}

// The job's final hash when nothing happens; computed once.
const std::string& QuietHash() {
  static const std::string hash = [] {
    Deployment deployment;
    deployment.StartCoordinator();
    StartTwo(deployment);
    Submit(deployment);
    return WaitForEnd(deployment);
  }();
  return hash;
}

bool HasWork(Deployment& deployment, const std::string& agent) {
  const json nodes =
      json::parse(deployment.Operate({"node", "list", "--format", "json"}).out, nullptr, false);
  if (!nodes.is_object()) return false;
  for (const json& node : nodes.value("items", json::array())) {
    if (node["name"] == agent) return node["task"] != "";
  }
  return false;
}

// ---- signals ----

TEST(Stopping, AnAgentToldToStopReportsItsWorkOnceAndEnds) {
  Deployment deployment;
  deployment.StartCoordinator();
  const Process::Environment slow = {{"TOY_DELAY_MS", "1500"}};
  StartTwo(deployment, slow);
  Submit(deployment);
  ASSERT_TRUE(deployment.agent("ada").WaitForError("attempt 1: begun"));
  deployment.agent("ada").Signal(SIGTERM);
  EXPECT_TRUE(deployment.agent("ada").WaitForError("agent ada stopped"));
  EXPECT_THAT(deployment.agent("ada").err(), HasSubstr("trained"));
  EXPECT_EQ(deployment.agent("ada").Wait(), 0);
  deployment.StartAgent("ada", kToy, "/dev/null");
  EXPECT_EQ(WaitForEnd(deployment), QuietHash());
  EXPECT_EQ(Metric(deployment, "rivulet_updates_accepted_total"), 6);  // 3 rounds of 2
  EXPECT_EQ(Metric(deployment, "rivulet_updates_rejected_total"), 0);
}

TEST(Stopping, ASecondSignalEndsAnAgentAtOnceAndItsWorkIsDoneAfterwards) {
  Deployment deployment;
  deployment.StartCoordinator();
  deployment.StartAgent("ada", kToy, "/dev/null", {{"TOY_DELAY_MS", "600000"}});
  deployment.StartAgent("bob", kToy, "/dev/null");
  Submit(deployment);
  ASSERT_TRUE(WaitUntil([&] { return HasWork(deployment, "ada"); }));
  deployment.agent("ada").Signal(SIGTERM);
  ASSERT_TRUE(deployment.agent("ada").WaitForError("ask again to stop at once"));
  deployment.agent("ada").Signal(SIGTERM);  // or this test would take ten minutes
  EXPECT_EQ(deployment.agent("ada").Wait(), 0);
  deployment.StartAgent("ada", kToy, "/dev/null");
  EXPECT_EQ(WaitForEnd(deployment), QuietHash());
}

TEST(Stopping, AnInterruptedAgentEndsWith130) {
  Deployment deployment;
  deployment.StartCoordinator();
  deployment.StartAgent("ada", kToy, "/dev/null");
  ASSERT_TRUE(deployment.agent("ada").WaitForError("agent ada of demo-org serves"));
  deployment.agent("ada").Signal(SIGINT);
  EXPECT_EQ(deployment.agent("ada").Wait(), 130);
}

TEST(Stopping, ACoordinatorStoppedInARoundGoesOnToTheSameHash) {
  Deployment deployment;
  deployment.StartCoordinator();
  StartTwo(deployment, {{"TOY_DELAY_MS", "400"}});
  Submit(deployment);
  ASSERT_TRUE(deployment.agent("bob").WaitForError("round 1 attempt 1: begun"));
  deployment.agent("bob").Signal(SIGSTOP);  // so that this round, or the next one, waits for it
  ASSERT_TRUE(WaitUntil([&] { return HasWork(deployment, "bob"); }));
  deployment.coordinator().Signal(SIGTERM);
  EXPECT_TRUE(deployment.coordinator().WaitForError("open rounds go on at the next start"));
  EXPECT_EQ(deployment.coordinator().Wait(), 0);
  deployment.agent("bob").Signal(SIGCONT);
  deployment.StartCoordinator();
  EXPECT_EQ(WaitForEnd(deployment), QuietHash());
}

// ---- disks ----

uint64_t FreeBytes(const fs::path& folder) {
  struct statvfs info {};
  return statvfs(folder.c_str(), &info) == 0 ? uint64_t{info.f_bavail} * info.f_frsize : 0;
}

// A folder on the file system in memory, whose free space nobody else changes by much.
class MemoryFolder {
 public:
  MemoryFolder() {
    std::string name = "/dev/shm/rivulet-XXXXXX";
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~MemoryFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }
  void Fill(uint64_t bytes) {
    const int fd = open((path_ / "filler").c_str(), O_CREAT | O_WRONLY, 0600);
    EXPECT_EQ(posix_fallocate(fd, 0, static_cast<off_t>(bytes)), 0);
    close(fd);
  }
  void Empty() { fs::remove(path_ / "filler"); }

 private:
  fs::path path_;
};

TEST(FullDisk, ACoordinatorPutsUploadsOffUntilThereIsSpace) {
  constexpr uint64_t kMib = 1 << 20;
  MemoryFolder memory;
  if (memory.path().empty() || FreeBytes(memory.path()) < 64 * kMib) {
    GTEST_SKIP() << "/dev/shm: want a file system in memory with 64 MiB free";
  }
  Deployment deployment;
  deployment.StartCoordinator(
      {{"--state-dir", (memory.path() / "state").string()},
       {"--state-low-water", std::to_string(FreeBytes(memory.path()) / kMib - 24)}});
  StartTwo(deployment);
  httplib::Client ops("http://" + deployment.ops_address());
  EXPECT_EQ(ops.Get("/readyz")->status, 200);
  memory.Fill(40 * kMib);
  Submit(deployment);
  EXPECT_TRUE(deployment.agent("ada").WaitForError("too little disk space is left for uploads"));
  const auto unready = ops.Get("/readyz");
  EXPECT_EQ(unready->status, 503);
  EXPECT_THAT(unready->body, HasSubstr("disk: no"));
  EXPECT_EQ(Metric(deployment, "rivulet_updates_accepted_total"), 0);
  memory.Empty();
  EXPECT_EQ(WaitForEnd(deployment), QuietHash());
}

TEST(FullDisk, AnAgentGivesTheTaskUpSaysWhyAndTakesTheNext) {
  Deployment deployment;
  deployment.StartCoordinator();
  for (const char* name : {"ada", "bob", "cid"}) {
    deployment.StartAgent(name, kToy, "/dev/null", {{"TOY_DELAY_MS", "300"}});
  }
  ASSERT_TRUE(deployment.agent("ada").WaitForError("agent ada of demo-org serves"));
  deployment.agent("ada").LimitFileSize(8 << 10);  // its notes fit, a model does not
  const fs::path path = deployment.folder() / "job.toml";
  std::ofstream(path) << SmallJob(
      "num-rounds = 8\nmin-clients = 2\nclients-per-round = 3\n"
      "min-available-clients = 3\n");
  ASSERT_EQ(deployment.Operate({"job", "submit", path.string()}).code, 0);
  const auto show = [&] {
    return json::parse(deployment.Operate({"job", "show", "@last", "--format", "json"}).out);
  };
  EXPECT_TRUE(WaitUntil([&] { return !show()["failures"].empty(); }));
  EXPECT_EQ(show()["failures"][0]["code"], "disk_full");
  deployment.agent("ada").LimitFileSize(RLIM_INFINITY);
  WaitForEnd(deployment);
  const json last = show()["rounds"].back();
  EXPECT_EQ(last["round"], 8);
  EXPECT_EQ(last["reported"], json({"ada", "bob", "cid"}));
}

TEST(FullDisk, AnAgentThatCannotEvenTakeNotesEndsWithTenAndComesBack) {
  Deployment deployment;
  deployment.StartCoordinator();
  StartTwo(deployment);
  ASSERT_TRUE(deployment.agent("ada").WaitForError("agent ada of demo-org serves"));
  deployment.agent("ada").LimitFileSize(0);
  Submit(deployment);
  EXPECT_EQ(deployment.agent("ada").Wait(), 10);
  deployment.StartAgent("ada", kToy, "/dev/null");
  EXPECT_EQ(WaitForEnd(deployment), QuietHash());
}

TEST(FullDisk, ADownloadEndsWithTenNamesTheFileAndLeavesNoHalf) {
  Deployment deployment;
  deployment.StartCoordinator();
  StartTwo(deployment);
  Submit(deployment);
  WaitForEnd(deployment);
  const fs::path out = deployment.folder() / "adapter";
  const auto download = [&](const std::string& limit) {
    return deployment.Run(
        {"/usr/bin/prlimit", "--fsize=" + limit, std::string(RIVULET_BINARY_DIR) + "/bin/rivulet",
         "job", "download", "@last", "--out", out.string(), "--coordinator",
         deployment.operators_address(), "--tls-dir", (deployment.pki() / "operator").string()});
  };
  const Finished full = download("4096");
  EXPECT_EQ(full.code, 10) << full.err;
  EXPECT_EQ(full.out, "");
  EXPECT_THAT(full.err,
              HasSubstr((out / "adapter_model.safetensors").string() + ": write: File too large"));
  EXPECT_TRUE(fs::is_empty(out));
  const Finished whole = download("unlimited");
  EXPECT_EQ(whole.code, 0) << whole.err;
  EXPECT_THAT(whole.out, HasSubstr(QuietHash()));
}

// ---- watching ----

TEST(Watching, AnInterruptEndsItWhileNothingHappensToTheJob) {
  for (const char* format : {"text", "json"}) {
    Deployment deployment;
    deployment.StartCoordinator();
    StartTwo(deployment);
    Submit(deployment, "num-rounds = 100000\nmin-clients = 2\nclients-per-round = 2\n");
    Process watch({std::string(RIVULET_BINARY_DIR) + "/bin/rivulet", "job", "watch", "@last",
                   "--format", format, "--coordinator", deployment.operators_address(), "--tls-dir",
                   (deployment.pki() / "operator").string()},
                  deployment.folder() / "watch");
    ASSERT_TRUE(watch.WaitForError("round "));
    for (const char* name : {"ada", "bob"}) deployment.agent(name).Signal(SIGKILL);
    watch.Signal(SIGINT);
    EXPECT_EQ(watch.Wait(), 130);
    EXPECT_THAT(watch.err(), HasSubstr("interrupted; job "));
  }
}

// ---- --insecure ----

TEST(Insecure, ItWorksOnThisMachineAndWarns) {
  Deployment deployment;
  deployment.StartCoordinator({{"--insecure", std::nullopt}});
  EXPECT_TRUE(deployment.coordinator().WaitForError("INSECURE: no TLS"));
  for (const std::string name : {"ada", "bob"}) {
    fs::create_directories(deployment.folder() / name);
    deployment.StartAgent(name, kToy, "/dev/null", {},
                          {{"--insecure", std::nullopt}, {"--name", "insecure/demo-org/" + name}});
    EXPECT_TRUE(deployment.agent(name).WaitForError("INSECURE: no TLS"));
  }
  const fs::path path = deployment.folder() / "job.toml";
  std::ofstream(path) << SmallJob(kThreeRounds);
  const Finished run =
      deployment.Operate({"job", "submit", path.string(), "--watch", "--insecure"});
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr(QuietHash()));
}

TEST(Insecure, ItIsRefusedOffThisMachine) {
  Deployment deployment;
  const Options insecure = {{"--insecure", std::nullopt}};
  Options open_agents = insecure, open_operators = insecure, far = insecure;
  open_agents["--listen-agents"] = "0.0.0.0:0";
  open_operators["--listen-operators"] = "0.0.0.0:0";
  far["--coordinator"] = "192.0.2.1:7440";
  far["--name"] = "insecure/demo-org/ada";
  for (const auto& command :
       {deployment.CoordinatorCommand(open_agents), deployment.CoordinatorCommand(open_operators),
        deployment.AgentCommand("ada", kToy, "/dev/null", far)}) {
    const Finished run = deployment.Run(command);
    EXPECT_EQ(run.code, 2) << run.err;
    EXPECT_THAT(run.err, HasSubstr("--insecure: got address '"));
    EXPECT_THAT(run.err, HasSubstr("want one of this machine alone"));
  }
  const Finished listed =
      deployment.Rivulet({"job", "list", "--insecure", "--coordinator", "192.0.2.1:7441"});
  EXPECT_EQ(listed.code, 2);
  EXPECT_THAT(listed.err, HasSubstr("--insecure: got address '192.0.2.1:7441'"));
}

TEST(Insecure, ANameOfAnotherFederationIsToldTheRightOne) {
  Deployment deployment;
  deployment.StartCoordinator({{"--insecure", std::nullopt}});
  for (const auto& [name, code, message] : std::vector<std::tuple<std::string, int, std::string>>{
           {"demo/demo-org/ada", 4, "federation 'demo', want 'insecure'"}, {"ada", 3, "name: "}}) {
    const Finished run = deployment.Run(deployment.AgentCommand(
        "ada", kToy, "/dev/null", {{"--insecure", std::nullopt}, {"--name", name}}));
    EXPECT_EQ(run.code, code) << run.err;
    EXPECT_THAT(run.err, HasSubstr(message));
  }
}

}  // namespace
}  // namespace rivulet
