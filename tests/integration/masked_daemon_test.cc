// Jobs under masks, with coordinator and agents as processes: whoever dies, and when, the model is
// that of those whose uploads count.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "common/formats/safetensors.h"
#include "tests/integration/deployment.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

using Names = std::vector<std::string>;
const Names kToyAgent = {TOY_AGENT};
const Names kFive = {"ada", "bob", "cid", "dee", "eve"};

// Norms of the toy's updates are about 10; a step of the lattice is 2 range / (2^16 - 1) at most.
constexpr double kRange = 40;
constexpr double kStep = 2 * kRange / 65535;

// Seconds that a round waits for those who are gone; where all come back it need not hurry.
constexpr int kImpatient = 20;
constexpr int kPatient = 60;

std::string JobOf(size_t clients, int deadline, const std::string& sections) {
  const std::string count = std::to_string(clients);
  return SmallJob("num-rounds = 1\nmin-clients = 4\nround-deadline = \"" +
                  std::to_string(deadline) + "s\"" + "\nclients-per-round = " + count +
                  "\nmin-available-clients = " + count + "\n") +
         "[strategy]\nweighting = \"uniform\"\n" + sections;
}

std::string MaskedJob(int deadline, size_t clients = 5, const std::string& sections = "") {
  return JobOf(clients, deadline,
               "[secure-aggregation]\nenabled = true\nphase-deadline = \"" +
                   std::to_string(deadline) + "s\"\nrange = " + std::to_string(kRange) + "\n" +
                   sections);
}

// An agent that died is not waited for before the last evaluation.
const Options kNoGrace = {{"--rounds-return-grace", "1"}};

using Environments = std::map<std::string, Process::Environment>;
void StartAgents(Deployment& deployment, const Names& names, const Environments& environments) {
  for (const std::string& name : names) {
    const auto own = environments.find(name);
    deployment.StartAgent(name, kToyAgent, "/dev/null",
                          own == environments.end() ? Process::Environment() : own->second);
  }
}

fs::path Write(const Deployment& deployment, const std::string& job) {
  const fs::path path = deployment.folder() / "job.toml";
  std::ofstream(path) << job;
  return path;
}

std::vector<float> AdapterOf(Deployment& deployment) {
  const fs::path folder = deployment.folder() / "adapter";
  const Finished got = deployment.Operate({"job", "download", "@last", "-o", folder.string()});
  EXPECT_EQ(got.code, 0) << got.err;
  std::vector<float> values;
  const auto file = SafetensorsFile::Open(folder / "adapter_model.safetensors");
  EXPECT_TRUE(file.ok()) << file.status();
  if (!file.ok()) return values;
  for (const TensorView& tensor : file->view().tensors()) {
    const size_t before = values.size();
    values.resize(before + tensor.bytes.size() / sizeof(float));
    std::memcpy(values.data() + before, tensor.bytes.data(), tensor.bytes.size());
  }
  return values;
}

// The model of a job without masks of the same clients.
const std::vector<float>& PlainModel(const Names& clients) {
  static std::map<Names, std::vector<float>> models;
  if (!models.contains(clients)) {
    Deployment deployment;
    deployment.StartCoordinator();
    StartAgents(deployment, clients, {});
    const json view = json::parse(
        deployment.SubmitAndWatch(Write(deployment, JobOf(clients.size(), kPatient, ""))));
    EXPECT_EQ(view["rounds"][0]["reported"], json(clients));
    models[clients] = AdapterOf(deployment);
  }
  return models[clients];
}

// Rounded at random to a neighbour on the lattice, each of the clients' values, and so their mean.
void ExpectModelOf(Deployment& deployment, const Names& clients) {
  const std::vector<float> masked = AdapterOf(deployment);
  const std::vector<float>& plain = PlainModel(clients);
  ASSERT_EQ(masked.size(), plain.size());
  ASSERT_GT(masked.size(), 1000u);
  double largest = 0, moved = 0;
  for (size_t at = 0; at < masked.size(); ++at) {
    largest = std::max(largest, std::abs(double{masked[at]} - double{plain[at]}));
    moved = std::max(moved, std::abs(double{plain[at]}));
  }
  EXPECT_LT(largest, kStep);
  EXPECT_GT(largest, 0);  // or masks were left out
  EXPECT_GT(moved, 100 * kStep);
}

json Show(Deployment& deployment) {
  const Finished shown = deployment.Operate({"job", "show", "@last", "--format", "json"});
  const json view = json::parse(shown.out, nullptr, false);
  return view.is_object() ? view : json::object({{"rounds", json::array()}});
}

std::string StateOfRound(Deployment& deployment) {
  const json view = Show(deployment);
  return view["rounds"].empty() ? "" : view["rounds"].back()["state"].get<std::string>();
}

size_t Reported(Deployment& deployment) {
  const json view = Show(deployment);
  return view["rounds"].empty() ? 0 : view["rounds"].back()["reported"].size();
}

void Submit(Deployment& deployment, int deadline = kPatient) {
  const Finished submitted =
      deployment.Operate({"job", "submit", Write(deployment, MaskedJob(deadline)).string()});
  ASSERT_EQ(submitted.code, 0) << submitted.err;
}

// To the end of the job, which one attempt sufficed for.
void ExpectFinished(Deployment& deployment, const Names& counted) {
  const Finished watched = deployment.Operate({"job", "watch", "@last"});
  EXPECT_EQ(watched.code, 0) << watched.err << deployment.coordinator().err();
  const json view = Show(deployment);
  EXPECT_EQ(view["state"], "finished") << view;
  ASSERT_EQ(view["rounds"].size(), 1u) << view;
  EXPECT_EQ(view["rounds"][0]["reported"], json(counted));
  ExpectModelOf(deployment, counted);
}

TEST(MaskedDaemon, TheModelIsThatOfThePlainSumWithinTheLattice) {
  Deployment deployment;
  deployment.StartCoordinator();
  StartAgents(deployment, kFive, {});
  Submit(deployment);
  ExpectFinished(deployment, kFive);
  const json round = Show(deployment)["rounds"][0];
  EXPECT_EQ(round["examples"], 20);
  EXPECT_EQ(round["tokens"], 5 * 103);
  EXPECT_NEAR(round["loss"], 2.5, 1e-3);
}

double LargestOf(const std::vector<float>& values) {
  double largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(double{value}));
  return largest;
}

// An honest update moves a number by less than 1; the lie, of norm `range`, one number by 40.
TEST(MaskedDaemon, TheMedianOfGroupsStandsALiarThatMovesTheMean) {
  const Environments lying = {{"bob", {{"TOY_LIE", "1"}}}};
  {
    Deployment deployment;
    deployment.StartCoordinator();
    StartAgents(deployment, kFive, lying);
    Submit(deployment);
    EXPECT_EQ(deployment.Operate({"job", "watch", "@last"}).code, 0);
    EXPECT_GT(LargestOf(AdapterOf(deployment)), kRange / 5 - 2);
  }
  Names twelve = kFive;
  for (const char* name : {"fay", "gil", "hal", "ida", "jon", "kim", "lea"}) {
    twelve.push_back(name);
  }
  Deployment deployment;
  deployment.StartCoordinator();
  StartAgents(deployment, twelve, lying);
  const std::string job =
      MaskedJob(kPatient, twelve.size(), "[robust]\nrule = \"median\"\nfaulty = 1\ngroups = 3\n");
  const Finished run =
      deployment.Operate({"job", "submit", Write(deployment, job).string(), "--watch"});
  EXPECT_EQ(run.code, 0) << run.err << deployment.coordinator().err();
  const json view = Show(deployment);
  ASSERT_EQ(view["rounds"].size(), 1u) << view;
  EXPECT_EQ(view["rounds"][0]["reported"], json(twelve));
  EXPECT_EQ(view["rounds"][0]["examples"], 48);
  const std::vector<float> model = AdapterOf(deployment);
  EXPECT_LT(LargestOf(model), 2);
  EXPECT_GT(LargestOf(model), 100 * kStep);
}

// A group of four is one too few without him; three of the four groups suffice.
TEST(MaskedDaemon, AGroupOfAnAgentThatDiesIsLeftOutAndJobShowSaysSo) {
  Names sixteen = kFive;
  for (const char* name :
       {"fay", "gil", "hal", "ida", "jon", "kim", "lea", "max", "ned", "oda", "pam"}) {
    sixteen.push_back(name);
  }
  Deployment deployment;
  deployment.StartCoordinator(kNoGrace);
  StartAgents(deployment, sixteen, {{"bob", {{"TOY_DIE", "before-upload"}}}});
  const std::string job = MaskedJob(kImpatient, sixteen.size(),
                                    "[robust]\nrule = \"median\"\nfaulty = 1\ngroups = 4\n");
  const Finished run =
      deployment.Operate({"job", "submit", Write(deployment, job).string(), "--watch"});
  EXPECT_EQ(run.code, 0) << run.err << deployment.coordinator().err();
  const json view = Show(deployment);
  ASSERT_EQ(view["rounds"].size(), 1u) << view;
  EXPECT_EQ(view["rounds"][0]["reported"].size(), 12u) << view;
  ASSERT_EQ(view["rounds"][0]["left_out"].size(), 1u) << view;
  EXPECT_THAT(view["rounds"][0]["left_out"][0].get<std::string>(), HasSubstr("bob"));
  EXPECT_THAT(deployment.Operate({"job", "show", "@last"}).out, HasSubstr("left out: group "));
}

// Two jobs over one data set: the second pays for the first. Five clients, of whom one may be
// corrupt: a sum of the fewest, four, has three shares of noise for certain.
TEST(MaskedDaemon, DistributedNoiseIsChargedAndTheLedgerShowsEveryJobOrOne) {
  Deployment deployment;
  deployment.StartCoordinator();
  StartAgents(deployment, kFive, {});
  const std::string job = JobOf(kFive.size(), kPatient,
                                "[secure-aggregation]\nenabled = true\nphase-deadline = \"60s\"\n"
                                "[privacy]\nmechanism = \"distributed\"\nnoise-multiplier = 1.0\n"
                                "target-epsilon = 100.0\n");
  std::vector<std::string> ids;
  std::vector<double> spent;
  for (int run = 0; run < 2; ++run) {
    const json view = json::parse(deployment.SubmitAndWatch(Write(deployment, job)));
    ASSERT_EQ(view["state"], "finished") << view;
    EXPECT_EQ(view["rounds"][0]["reported"], json(kFive));
    ids.push_back(view["id"]);
    spent.push_back(view["epsilon"]);
  }
  // One release with z = 1 at delta 1e-5 costs 4.377, two 6.57, exactly; Renyi's bound a bit more.
  EXPECT_GT(spent[0], 4.377);
  EXPECT_LT(spent[0], 5.5);
  EXPECT_GT(spent[1], 6.57);
  EXPECT_LT(spent[1], 8);
  const auto rows = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"ledger", "show", "--format", "json"});
    const Finished shown = deployment.Operate(words);
    EXPECT_EQ(shown.code, 0) << shown.err;
    return json::parse(shown.out)["items"];
  };
  const json all = rows({});
  ASSERT_EQ(all.size(), 2u) << all;
  for (size_t run = 0; run < 2; ++run) {
    EXPECT_EQ(all[run]["job"], ids[run]);
    EXPECT_EQ(all[run]["survivors"], 5);
    EXPECT_EQ(all[run]["n_eff"], 3);
    EXPECT_EQ(all[run]["eps_pld"], spent[run]);
    EXPECT_EQ(rows({ids[run]}), json::array({all[run]}));
  }
  const std::string table = deployment.Operate({"ledger", "show", ids[1]}).out;
  EXPECT_THAT(table, HasSubstr(ids[1]));
  EXPECT_THAT(table, testing::Not(HasSubstr(ids[0])));
  EXPECT_NE(deployment.Operate({"ledger", "show", "nobody's"}).code, 0);
}

TEST(MaskedDaemon, AnAgentThatDiesBeforeItsUploadIsLeftOut) {
  Deployment deployment;
  deployment.StartCoordinator(kNoGrace);
  StartAgents(deployment, kFive, {{"bob", {{"TOY_DIE", "before-upload"}}}});
  Submit(deployment, kImpatient);
  ExpectFinished(deployment, {"ada", "cid", "dee", "eve"});
}

TEST(MaskedDaemon, AnAgentThatDiesAfterItsUploadCounts) {
  Deployment deployment;
  deployment.StartCoordinator(kNoGrace);
  StartAgents(deployment, kFive, {{"bob", {{"TOY_DIE", "after-upload"}}}});
  Submit(deployment);
  ExpectFinished(deployment, kFive);
}

TEST(MaskedDaemon, AnAgentThatDiesWithItsUnmaskingSharesCounts) {
  Deployment deployment;
  deployment.StartCoordinator(kNoGrace);
  StartAgents(deployment, kFive, {{"bob", {{"TOY_DIE", "before-unmask"}}}});
  Submit(deployment);
  ExpectFinished(deployment, kFive);
  EXPECT_EQ(deployment.agent("bob").Wait(), 128 + SIGKILL);
}

TEST(MaskedDaemon, ACoordinatorKilledWhileUploadsComeGoesOnWithThem) {
  Deployment deployment;
  deployment.StartCoordinator();
  StartAgents(deployment, kFive, {{"eve", {{"TOY_DELAY_MS", "1500"}}}});
  Submit(deployment);
  ASSERT_TRUE(WaitUntil([&] { return Reported(deployment) == 4; }));
  EXPECT_EQ(StateOfRound(deployment), "open");
  deployment.KillCoordinator();
  deployment.StartCoordinator();
  ExpectFinished(deployment, kFive);
}

TEST(MaskedDaemon, ACoordinatorKilledBeforeTheSharesCameGoesOnWithTheSameSet) {
  Deployment deployment;
  deployment.StartCoordinator();
  Environments slow;
  for (const std::string& name : kFive) slow[name] = {{"TOY_UNMASK_DELAY_MS", "1000"}};
  StartAgents(deployment, kFive, slow);
  Submit(deployment);
  ASSERT_TRUE(WaitUntil([&] { return StateOfRound(deployment) == "closed"; }));
  deployment.KillCoordinator();
  deployment.StartCoordinator();
  ExpectFinished(deployment, kFive);
}

// Each of them in another phase; what it had said it says again.
TEST(MaskedDaemon, AgentsThatComeBackGoOnWhereTheyWere) {
  Deployment deployment;
  deployment.StartCoordinator();
  StartAgents(deployment, kFive,
              {{"ada", {{"TOY_DIE", "before-upload"}}},
               {"bob", {{"TOY_DIE", "before-unmask"}}},
               {"cid", {{"TOY_DIE", "before-unmask"}}}});
  Submit(deployment);
  EXPECT_EQ(deployment.agent("ada").Wait(), 128 + SIGKILL);
  StartAgents(deployment, {"ada"}, {});
  for (const char* name : {"bob", "cid"}) {
    EXPECT_EQ(deployment.agent(name).Wait(), 128 + SIGKILL);
    StartAgents(deployment, {name}, {});
  }
  ExpectFinished(deployment, kFive);
}

TEST(MaskedDaemon, APolicyThatDemandsMoreRefusesAndJobShowSaysWhy) {
  Deployment deployment;
  deployment.UsePolicy("[secagg]\nn-min = 5\n");
  deployment.StartCoordinator();
  StartAgents(deployment, kFive, {});
  const Finished run = deployment.Operate(
      {"job", "submit", Write(deployment, MaskedJob(kPatient)).string(), "--watch"});
  EXPECT_EQ(run.code, 5) << run.err;
  const Finished shown = deployment.Operate({"job", "show", "@last"});
  EXPECT_THAT(shown.out, HasSubstr("refused_policy: POLICY: n_min: got 4, want at least 5"));
}

TEST(MaskedDaemon, APolicyThatWantsMasksRefusesAJobWithout) {
  Deployment deployment;
  deployment.UsePolicy("[secagg]\nrequired = true\n");
  deployment.StartCoordinator();
  StartAgents(deployment, {"ada", "bob", "cid", "dee"}, {});
  const Finished run = deployment.Operate(
      {"job", "submit", Write(deployment, JobOf(4, kPatient, "")).string(), "--watch"});
  EXPECT_EQ(run.code, 5) << run.err;
  const Finished shown = deployment.Operate({"job", "show", "@last"});
  EXPECT_THAT(shown.out,
              HasSubstr("refused_policy: policy: secure-aggregation.enabled: got false"));
}

}  // namespace
}  // namespace rivulet
