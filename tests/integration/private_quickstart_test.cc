// The quickstart's federation, 34 agents with real models and text, under masks and noise, while
// agents are killed in every phase: what it costs in perplexity. Prints a table.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "common/io/file.h"
#include "tests/integration/deployment.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

const fs::path kFortunes = "/usr/share/games/fortunes";
const std::vector<std::string> kPhases = {"before-keys",  "before-shares",      "before-upload",
                                          "after-upload", "before-endorsement", "before-unmask"};

std::map<std::string, fs::path> Topics() {
  std::map<std::string, fs::path> topics;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(kFortunes, ignored)) {
    if (!entry.is_regular_file() || entry.is_symlink() || entry.path().has_extension()) continue;
    if (entry.file_size() >= 15000) topics[entry.path().filename()] = entry.path();
  }
  return topics;
}

struct Quality {
  double before = 0;
  double after = 0;
  json job;  // of `job show`, where a coordinator ran it
};

Quality QualityOf(const json& view) {
  const json& evaluations = view.at("evaluations");
  EXPECT_GE(evaluations.size(), 2u) << view;
  return {evaluations.front().at("perplexity").get<double>(),
          evaluations.back().at("perplexity").get<double>(), view};
}

class PrivateQuickstart : public ::testing::Test {
 protected:
  void SetUp() override {
    if (topics_.size() != 34) {
      GTEST_SKIP() << kFortunes << ": " << topics_.size() << " topics, want 34 (package fortunes)";
    }
  }

  // The scenario with these keys set, for every run the same: by `job submit` as by the simulation.
  Quality Simulate(const std::vector<std::string>& settings) {
    std::vector<std::string> command = Command("rivulet-simulate", settings);
    const fs::path runs = deployment_.folder() / "runs";
    command.insert(command.end(), {"--no-progress", "--out", runs.string()});
    const Finished done = deployment_.Run(command);
    EXPECT_EQ(done.code, 0) << done.err;
    const auto text = ReadFile(runs / "latest" / "summary.json", uint64_t{16} << 20);
    EXPECT_TRUE(text.ok()) << text.status();
    return text.ok() ? QualityOf(json::parse(*text)) : Quality();
  }

  // With a coordinator and all agents as processes. `deaths` agents for each phase kill themselves
  // there, the first time they come to it; every other one of them comes back at once, the rest
  // later than a phase waits.
  Quality Deploy(const std::vector<std::string>& settings, int deaths) {
    deployment_.StartCoordinator({{"--rounds-return-grace", "5"}});
    std::map<std::string, std::string> frail;
    for (size_t i = 0; i < kPhases.size() * static_cast<size_t>(deaths); ++i) {
      frail[std::next(topics_.begin(), static_cast<long>(i * 5 % 34))->first] =
          kPhases[i % kPhases.size()];
    }
    for (const auto& [name, file] : topics_) {
      Process::Environment environment;
      if (frail.contains(name)) environment = {{"TOY_DIE", frail[name]}};
      deployment_.StartAgent(name, {FRAIL_AGENT}, file, environment);
    }
    std::vector<std::string> submit = {"job", "submit", kScenario};
    for (const std::string& setting : settings) submit.insert(submit.end(), {"--set", setting});
    const Finished submitted = deployment_.Operate(submit);
    EXPECT_EQ(submitted.code, 0) << submitted.err;
    const json view = ReviveUntilTheEnd(frail);
    EXPECT_EQ(view.at("state"), "finished") << view;
    EXPECT_EQ(died_.size(), frail.size()) << "agents that never came to their phase";
    for (const auto& [name, file] : topics_) deployment_.agent(name).Signal(SIGKILL);
    for (const auto& [name, file] : topics_) deployment_.agent(name).Wait();
    deployment_.KillCoordinator();
    return QualityOf(view);
  }

  void Print(const char* name, const Quality& quality) const {
    std::string survivors;
    for (const json& round : quality.job.value("rounds", json::array())) {
      if (round.contains("reported")) survivors += std::to_string(round["reported"].size()) + " ";
    }
    std::printf("%-34s %8.2f -> %8.2f  died %2zu  reported by round: %s\n", name, quality.before,
                quality.after, died_.size(), survivors.c_str());
  }

  const std::string kScenario =
      std::string(RIVULET_SOURCE_DIR) + "/simulations/scenarios/quickstart.toml";
  const std::map<std::string, fs::path> topics_ = Topics();
  Deployment deployment_;
  std::map<std::string, Clock::time_point> died_;

 private:
  std::vector<std::string> Command(const std::string& program,
                                   const std::vector<std::string>& settings) const {
    std::vector<std::string> command = {std::string(RIVULET_BINARY_DIR) + "/bin/" + program,
                                        kScenario};
    for (const std::string& setting : settings) command.insert(command.end(), {"--set", setting});
    return command;
  }

  json ReviveUntilTheEnd(const std::map<std::string, std::string>& frail) {
    died_.clear();
    std::map<std::string, bool> back;
    while (true) {
      bool late = false;
      for (const auto& [name, phase] : frail) {
        late = !late;
        if (back[name]) continue;
        if (!died_.contains(name) && deployment_.agent(name).ended()) died_[name] = Clock::now();
        if (!died_.contains(name)) continue;
        if (Clock::now() - died_[name] < std::chrono::seconds(late ? 40 : 2)) continue;
        deployment_.StartAgent(name, {FRAIL_AGENT}, topics_.at(name));
        back[name] = true;
      }
      const Finished shown = deployment_.Operate({"job", "show", "@last", "--format", "json"});
      const json view = json::parse(shown.out, nullptr, false);
      if (!view.is_object()) return json::object({{"state", shown.err}});
      const std::string state = view.at("state");
      if (state == "finished" || state == "failed" || state == "stopped") return view;
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
  }
};

// ctest runs this elsewhere than in the source tree, to which the scenario's own path is relative.
const std::vector<std::string> kCommon = {
    "evaluate.every=10", "strategy.weighting=uniform",
    "model.name=" + std::string(RIVULET_SOURCE_DIR) + "/simulations/models/llama-7m"};

std::vector<std::string> With(std::vector<std::string> more) {
  more.insert(more.end(), kCommon.begin(), kCommon.end());
  return more;
}

TEST_F(PrivateQuickstart, MaskedAndCompressedAsGoodAsPlainWhoeverDies) {
  const std::vector<std::string> masked = With(
      {"secure-aggregation.enabled=true", "compression.codec=int8",
       "secure-aggregation.phase-deadline=20s", "job.round-deadline=60s", "job.min-clients=5"});
  const Quality plain = Simulate(With({}));
  Print("plain, simulation", plain);
  const Quality simulated = Simulate(masked);
  Print("masked int8, simulation", simulated);
  const Quality deployed = Deploy(masked, 0);
  Print("masked int8, daemon", deployed);
  const Quality killed = Deploy(masked, 2);
  Print("masked int8, daemon, agents killed", killed);
  EXPECT_LT(plain.after, plain.before / 3);
  EXPECT_NEAR(simulated.after, plain.after, 0.01 * plain.after);
  EXPECT_NEAR(deployed.after, plain.after, 0.01 * plain.after);
  EXPECT_NEAR(killed.after, plain.after, 0.05 * plain.after);  // of fewer updates
}

// Each with a coordinator of its own: a second job on the same data set has no budget left.
class NoisedQuickstart : public PrivateQuickstart {
 protected:
  static std::vector<std::string> Noised(const std::string& mechanism) {
    return With({"job.round-deadline=200s", "privacy.mechanism=" + mechanism,
                 "privacy.clip-norm=0.5", "privacy.target-epsilon=8.0",
                 "privacy.evaluate-in-clear=true", "strategy.aggregation=freeze-a", "lora.lora-r=1",
                 "lora.lora-alpha=2", "job.clients-per-round=34", "job.min-clients=24",
                 "job.num-rounds=3", "train.learning-rate=8e-3"});
  }
  static std::vector<std::string> Masked(std::vector<std::string> settings) {
    settings.push_back("secure-aggregation.enabled=true");
    settings.push_back("secure-aggregation.phase-deadline=40s");
    return settings;
  }
  static std::vector<std::string> CentralOfInt8() {
    std::vector<std::string> settings = Noised("central");
    settings.push_back("compression.codec=int8");
    return settings;
  }
  void DeployWithinBudget(const char* name, const std::vector<std::string>& settings, int deaths) {
    const Quality deployed = Deploy(Masked(settings), deaths);
    Print(name, deployed);
    const double epsilon = deployed.job.at("epsilon").get<double>();
    std::printf("epsilon %.3f\n", epsilon);
    EXPECT_GT(epsilon, 0);
    EXPECT_LE(epsilon, 8);
    EXPECT_LT(deployed.after, deployed.before);
  }
};

TEST_F(NoisedQuickstart, TheBudgetHolds) {
  Print("noised, simulation", Simulate(Masked(Noised("distributed"))));
  DeployWithinBudget("noised, daemon", Noised("distributed"), 0);
}

// The coordinator's noise, on decoded int8 updates and on the masked sum of eight-bit values.
TEST_F(NoisedQuickstart, CentralNoiseOnAMaskedInt8SumCostsWhatItDoesWithoutMasks) {
  const Quality open = Simulate(CentralOfInt8()), hidden = Simulate(Masked(CentralOfInt8()));
  Print("central noise, int8, simulation", open);
  Print("central noise, masked int8, simulation", hidden);
  EXPECT_LE(hidden.job.at("epsilon").get<double>(), 8);
  EXPECT_LT(hidden.after, hidden.before);
  EXPECT_NEAR(hidden.after, open.after, 0.1 * open.after);
}

TEST_F(NoisedQuickstart, TheBudgetHoldsWhoeverDies) {
  DeployWithinBudget("noised, daemon, agents killed", Noised("distributed"), 1);
}

TEST_F(NoisedQuickstart, CentralNoiseOnAMaskedInt8SumHoldsTheBudgetWhoeverDies) {
  DeployWithinBudget("central, masked int8, daemon, killed", CentralOfInt8(), 1);
}

}  // namespace
}  // namespace rivulet
