#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/formats/safetensors.h"
#include "common/io/file.h"
#include "common/job/job_document.h"
#include "common/job/job_file.h"
#include "common/job/job_model.h"
#include "common/random.h"
#include "peft/data/client_data.h"
#include "peft/data/record_reader.h"
#include "simulations/engine/simulation.h"
#include "simulations/partition/partition.h"
#include "tests/integration/deployment.h"
#include "tests/unit/golden_folder.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

using Passages = std::map<std::string, std::string>;

constexpr char kJob[] =
    "num-rounds = 2\nmin-clients = 2\nclients-per-round = 2\nmin-available-clients = 3\n";
constexpr char kEveryClient[] =
    "num-rounds = 2\nmin-clients = 3\nclients-per-round = 3\nmin-available-clients = 3\n";
const Passages kPassages = {
    {"ada", "The river rose in the night and took the lower bridge with it. Nobody saw it go.\n"},
    {"bob", "A list of tools lay on the bench: two chisels, a plane, a saw without teeth.\n"},
    {"cid", "When the lamps were lit she read the letter again, slowly, and put it away.\n"},
};

// Each client's own file: forty records of a passage and its number.
std::map<std::string, fs::path> WriteData(const fs::path& folder,
                                          const Passages& passages = kPassages) {
  std::map<std::string, fs::path> files;
  for (const auto& [name, passage] : passages) {
    files[name] = folder / (name + ".txt");
    std::ofstream out(files[name]);
    for (int record = 0; record < 40; ++record) out << passage << record << "\n%\n";
  }
  return files;
}

class FileResources final : public LocalResources {
 public:
  explicit FileResources(std::map<std::string, fs::path> files) : files_(std::move(files)) {}
  absl::StatusOr<fs::path> BaseModel(const JobSpec&, const std::string&) override {
    return ToyBaseModel();
  }
  absl::StatusOr<ClientData> Data(const std::string& client, const JobSpec& spec,
                                  const Tokenizer& tokenizer, int max_positions) override {
    RV_ASSIGN_OR_RETURN(const RecordList list, ReadRecords(files_.at(client), spec.data));
    return BuildClientData(list.records, spec.data, tokenizer, max_positions);
  }

 private:
  const std::map<std::string, fs::path> files_;
};

std::string SimulatedHash(const fs::path& job, const std::map<std::string, fs::path>& files) {
  const absl::StatusOr<LoadedJob> loaded = LoadJob(job, {}, {});
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  const absl::StatusOr<JobDocument> document = DescribeJob(ToyBaseModel(), loaded->spec);
  EXPECT_TRUE(document.ok()) << document.status();
  FileResources resources(files);
  SimulationConfig config;
  config.spec = document->spec;
  config.base_model = ToyBaseModel();
  config.document = JobDocumentText(*document);
  std::vector<std::string> clients;
  for (const auto& [name, file] : files) clients.push_back(name);
  const auto result = RunSimulation(
      config, clients, resources, [](const JobEvent&) {}, [](const JobView&) { return true; });
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? result->view.state_hash : "";
}

TEST(SimulationEqualsDaemon, TheSameJobReachesTheSameHashInOneProcessAndInSeveral) {
  Deployment deployment;
  const std::map<std::string, fs::path> files = WriteData(deployment.folder());
  const fs::path job = deployment.folder() / "job.toml";
  std::ofstream(job) << SmallJob(kJob);
  deployment.StartCoordinator();
  for (const auto& [name, file] : files) {
    deployment.StartAgent(name, {std::string(RIVULET_BINARY_DIR) + "/bin/rivulet-client"}, file);
  }
  deployment.SubmitAndWatch(job);
  const std::string daemon = deployment.StateHash();
  EXPECT_EQ(daemon.size(), 64u);
  EXPECT_EQ(daemon, SimulatedHash(job, files));
}

// ---- the same through the program `rivulet-simulate`, for one job of each kind

struct Kind {
  std::string name;
  std::string sections;  // method and strategy
  std::string model_keys = "";
  std::string train_keys = "";
};

std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }

constexpr char kText[] =
    "[data]\ndataset = \"fortunes\"\nformat = \"text\"\nseparator = \"\\n%\\n\"\nseq-length = 32\n"
    "held-out-max-blocks = 2\n";

std::string JobText(const fs::path& base, const std::string& data, const Kind& kind,
                    const std::string& job_keys = kJob) {
  return "[job]\nseed = 7\n" + job_keys + "[model]\nname = \"" + base.string() + "\"\n" +
         kind.model_keys + data + kind.sections +
         "[train]\nmax-steps = 2\nper-device-train-batch-size = 2\n" + kind.train_keys;
}

// Runs the job file over a folder of one file per client; the run folder.
fs::path Simulate(Deployment& deployment, const fs::path& job, const fs::path& data) {
  const fs::path runs = deployment.folder() / "runs";
  const Finished done =
      RunToEnd({std::string(RIVULET_BINARY_DIR) + "/bin/rivulet-simulate", job.string(), "--out",
                runs.string(), "--no-progress", "--set", "simulate.dataset-path=" + data.string()},
               deployment.folder() / "simulate");
  EXPECT_EQ(done.code, 0) << done.err;
  return runs / "latest";
}

json Summary(const fs::path& run) {
  const auto text = ReadFile(run / "summary.json", uint64_t{16} << 20);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? json::parse(*text) : json::object();
}

// The figures of what both print, in the order of `rows`; those of time and bytes left out.
std::string Figures(const json& rows, std::initializer_list<const char*> keys) {
  std::string text;
  for (const json& row : rows) {
    for (const char* key : keys) text += std::string(key) + " " + row.at(key).dump() + "  ";
    text += "\n";
  }
  return text;
}

// To the last digit: held-out figures of each client and of all, and what each round trained.
void ExpectEqualFigures(const json& daemon, const json& simulation, size_t clients) {
  const auto held_out = {"round",   "loss",    "perplexity", "accuracy",
                         "counted", "missing", "clients"};
  ASSERT_EQ(daemon["evaluations"].size(), 2u);  // before the first round and after the last
  for (const json& evaluation : daemon["evaluations"]) {
    EXPECT_EQ(evaluation["done"], true);
    EXPECT_EQ(evaluation["clients"].size(), clients);
    EXPECT_GT(evaluation["counted"], 0);
    EXPECT_GT(evaluation["loss"], 0);
  }
  EXPECT_EQ(Figures(daemon["evaluations"], held_out), Figures(simulation["evaluations"], held_out));
  const auto trained = {"round",  "attempt",  "state", "cohort",   "failed",       "loss",
                        "tokens", "examples", "bias",  "bytes_up", "raw_bytes_up", "left_out"};
  EXPECT_EQ(daemon["rounds"].size(), 2u);
  EXPECT_EQ(Figures(daemon["rounds"], trained), Figures(simulation["rounds_detail"], trained));
}

using Program = std::vector<std::string>;
const Program kAgent = {std::string(RIVULET_BINARY_DIR) + "/bin/rivulet-client"};
const Program kSeededAgent = {SEEDED_AGENT, "--seeded-rounding"};

void Start(Deployment& deployment, const std::map<std::string, fs::path>& files,
           const Program& agent) {
  deployment.StartCoordinator();
  for (const auto& [name, file] : files) deployment.StartAgent(name, agent, file);
}

// The simulation over all files ends with the hash and the figures that `daemon` shows.
void ExpectSimulated(Deployment& deployment, const fs::path& job,
                     const std::map<std::string, fs::path>& files, const json& daemon) {
  const json simulation = Summary(Simulate(deployment, job, files.begin()->second.parent_path()));
  EXPECT_EQ(daemon["state_hash"].get<std::string>().size(), 64u);
  EXPECT_EQ(daemon["state_hash"], simulation["state_hash"]);
  ExpectEqualFigures(daemon, simulation, files.size());
}

// Agents over their own files, then the simulation: one hash, the same figures.
void ExpectEqual(Deployment& deployment, const std::string& job_text,
                 const std::map<std::string, fs::path>& files) {
  const fs::path job = deployment.folder() / "job.toml";
  std::ofstream(job) << job_text;
  ExpectSimulated(deployment, job, files, json::parse(deployment.SubmitAndWatch(job)));
}

// One coordinator and its agents for all jobs of a suite, one after the other.
class SharedFederation : public testing::TestWithParam<Kind> {
 protected:
  static void Start(const Passages& passages, const Program& agent) {
    deployment_ = std::make_unique<Deployment>();
    fs::create_directories(deployment_->folder() / "data");
    files_ = WriteData(deployment_->folder() / "data", passages);
    rivulet::Start(*deployment_, files_, agent);
  }
  static void TearDownTestSuite() { deployment_.reset(); }

  static void ExpectEqual(const std::string& job_keys) {
    rivulet::ExpectEqual(*deployment_, JobText(ToyBaseModel(), kText, GetParam(), job_keys),
                         files_);
  }

  static inline std::unique_ptr<Deployment> deployment_;
  static inline std::map<std::string, fs::path> files_;
};

class EveryKind : public SharedFederation {
 public:
  static void SetUpTestSuite() { Start(kPassages, kAgent); }
};

TEST_P(EveryKind, ReachesTheSameHashAndFiguresInTheSimulationAndInTheDaemon) {
  ExpectEqual(kJob);
  // What factor averaging lost is told where there are factors, and is unknown elsewhere.
  const bool factors = GetParam().sections.find("[lora]") != std::string::npos &&
                       GetParam().sections.find("[scalars]") == std::string::npos;
  const Finished text = deployment_->Operate({"job", "show", "@last"});
  EXPECT_EQ(text.out.find("  bias ") != std::string::npos, factors) << text.out;
  const Finished shown = deployment_->Operate({"job", "show", "@last", "--format", "json"});
  EXPECT_EQ(json::parse(shown.out)["rounds"][0]["bias"].is_null(), !factors) << shown.out;
}

constexpr char kLora[] =
    "[lora]\nlora-r = 2\nlora-target-modules = [\"q_proj\", \"v_proj\"]\nlora-dropout = ";
const std::string kDropout = std::string(kLora) + "0.1\n";
const std::string kFreezeA = std::string(kLora) + "0.0\n[strategy]\naggregation = \"freeze-a\"\n";
const std::string kFedAdam =
    std::string(kLora) + "0.0\n[strategy]\nname = \"fedadam\"\nserver-learning-rate = 1e-3\n";
// A module that is trained whole and starts from the base model: 5.5 MiB beside the document.
const std::string kSavedModule = std::string(kLora) + "0.0\nmodules-to-save = [\"gate_proj\"]\n";

const std::string kPlain = std::string(kLora) + "0.0\n";

constexpr char kMeasured[] =
    "estimator = \"central\"\noptimizer = \"sgd\"\nlearning-rate = 1e-3\nqueries = 2\n";

constexpr char kInSubspaces[] =
    "direction = \"subspace\"\ndirection-rank = 2\ndirection-renewal = 3\n";

constexpr char kByAmplitude[] = "[scalars]\nenabled = true\npool-choice = \"amplitude\"\n";

INSTANTIATE_TEST_SUITE_P(
    Jobs, EveryKind,
    testing::Values(
        Kind{"dropout", kDropout}, Kind{"freeze_a", kFreezeA}, Kind{"fedadam", kFedAdam},
        Kind{"seq_bn", "[adapter]\nconfig = \"seq_bn\"\nreduction-factor = 16\n"},
        Kind{"saved_module", kSavedModule},
        Kind{"bfloat16", kPlain, "dtype = \"bfloat16\"\n"},  // the quickstart's
        Kind{"two_threads", kPlain, "", "threads = 2\n"},
        Kind{"prompt", "[prompt]\nnum-virtual-tokens = 4\n"},
        Kind{"full", "[full]\nmodules = [\"layers.7\", \"norm\"]\n"},
        // 26 MiB with the submit, and none afterwards.
        Kind{"full_scalars", "[full]\nmodules = []\n[scalars]\nenabled = true\n", "", kMeasured},
        Kind{"scalars", kPlain + "[scalars]\nenabled = true\n", "", kMeasured},
        Kind{"subspaces", kPlain + "[scalars]\nenabled = true\n", "",
             std::string(kMeasured) + kInSubspaces},
        Kind{"candidates", kPlain + "[scalars]\nenabled = true\ncandidates = 4\n", "", kMeasured},
        Kind{"average", kPlain + "[scalars]\nenabled = true\n[evaluate]\nema = 0.9\n", "",
             kMeasured},
        Kind{"pool", kPlain + "[scalars]\nenabled = true\npool = 64\n", "", kMeasured},
        Kind{"pool_by_amplitude", kPlain + kByAmplitude + "pool = 64\n", "", kMeasured},
        // Longer than the state, which is fetched beside what draws go by.
        Kind{"large_pool_by_amplitude", kPlain + kByAmplitude + "pool = 40000\n", "", kMeasured}),
    [](const auto& info) { return info.param.name; });

// A simulation draws who can afford a gradient, a federation's owners say so.
TEST(SimulationEqualsDaemon, AFleetOfWhichSomeProjectTheirGradientReachesTheSameHash) {
  Deployment deployment;
  fs::create_directories(deployment.folder() / "data");
  const auto files = WriteData(deployment.folder() / "data");
  const Kind mixed{"mixed", kPlain + "[scalars]\nenabled = true\n", "", kMeasured};
  const std::string text = JobText(ToyBaseModel(), kText, mixed, kEveryClient);
  const fs::path job = deployment.folder() / "job.toml";
  std::ofstream(job) << text << "[simulate]\nbackprop-share = 0.5\n";
  deployment.StartCoordinator();
  int projecting = 0;
  for (const auto& [name, file] : files) {
    RandomCursor cursor(RandomStream(RootOf(7, 0, name), Purpose::kPartition, 0));
    const bool projects = cursor.Unit() < 0.5;  // as the simulation draws
    projecting += projects ? 1 : 0;
    deployment.UsePolicy(projects ? "backprop = true\n" : "");
    deployment.StartAgent(name, kAgent, file);
  }
  ASSERT_GT(projecting, 0);
  ASSERT_LT(projecting, 3);
  const json daemon = json::parse(deployment.SubmitAndWatch(job));
  const json simulation = Summary(Simulate(deployment, job, files.begin()->second.parent_path()));
  EXPECT_EQ(daemon["state_hash"], simulation["state_hash"]);
  ExpectEqualFigures(daemon, simulation, files.size());
  std::ofstream(job) << text;  // nobody projects: another movement
  const json measured = Summary(Simulate(deployment, job, files.begin()->second.parent_path()));
  EXPECT_NE(measured["state_hash"], simulation["state_hash"]);
}

// ---- coded updates and robust rules

std::string Coded(const std::string& codec, const std::string& keys = "") {
  return "[compression]\ncodec = \"" + codec + "\"\n" + keys;
}

class EveryUpload : public SharedFederation {
 public:
  // Where a codec rounds at random the agents must be told how.
  static void SetUpTestSuite() { Start(kPassages, kSeededAgent); }
};

TEST_P(EveryUpload, ReachesTheSameHashAndBytesInTheSimulationAndInTheDaemon) { ExpectEqual(kJob); }

INSTANTIATE_TEST_SUITE_P(
    Jobs, EveryUpload,
    testing::Values(Kind{"bf16", kPlain + Coded("bf16", "zstd = true\n")},
                    Kind{"int8", kPlain + Coded("int8")},
                    Kind{"top_k", kPlain + Coded("top-k", "fraction = 0.1\n")},
                    // Round 0 has values of the base model: both ends compute it.
                    Kind{"public_top_k", kSavedModule + Coded("public-top-k", "fraction = 0.1\n")},
                    Kind{"median", kPlain + "[robust]\nrule = \"median\"\n"},
                    Kind{"fltrust",
                         kPlain + "[robust]\nrule = \"fltrust\"\n" + "trusted-client = \"bob\"\n"}),
    [](const auto& info) { return info.param.name; });

// ---- under masks, unrotated: nothing is keyed by the session, and agents round as a simulation
// does

const Passages kFivePassages = {
    {"ada", kPassages.at("ada")},
    {"bob", kPassages.at("bob")},
    {"cid", kPassages.at("cid")},
    {"dee", "The ferry was late again, and the men on the quay spoke of nothing but the price.\n"},
    {"eve", "Rain fell on the tin roof all week; the well was full and the road was gone.\n"},
};
constexpr char kFiveClients[] =
    "num-rounds = 2\nmin-clients = 4\nclients-per-round = 5\nmin-available-clients = 5\n";

class EveryMaskedUpload : public SharedFederation {
 public:
  static void SetUpTestSuite() { Start(kFivePassages, kSeededAgent); }
};

TEST_P(EveryMaskedUpload, ReachesTheSameHashAndFiguresInTheSimulationAndInTheDaemon) {
  ExpectEqual(kFiveClients);
}

const std::string kMasks =
    "[strategy]\nweighting = \"uniform\"\n"
    "[secure-aggregation]\nenabled = true\nrotation = \"off\"\n";

INSTANTIATE_TEST_SUITE_P(
    Jobs, EveryMaskedUpload,
    testing::Values(Kind{"int8", kPlain + Coded("int8") + kMasks},
                    // What the first round did not send goes up in the second.
                    Kind{"random_k", kPlain + Coded("random-k", "fraction = 0.2\n") + kMasks}),
    [](const auto& info) { return info.param.name; });

json Shown(Deployment& deployment) {
  const Finished shown = deployment.Operate({"job", "show", "@last", "--format", "json"});
  const json view = json::parse(shown.out, nullptr, false);
  return view.is_object() ? view : json::object({{"rounds", json::array()}});
}

// Two sums, of which the second goes by the first. It waits for an agent of the first that died, so
// the coordinator is killed when the one is over and the other is not begun; the agent never heard
// that its update counted.
TEST(SimulationEqualsDaemon, ACoordinatorKilledBetweenTwoPassesReachesTheSameHash) {
  Deployment deployment;
  fs::create_directories(deployment.folder() / "data");
  const auto files = WriteData(deployment.folder() / "data", kFivePassages);
  const fs::path job = deployment.folder() / "job.toml";
  const Kind two_sums{"power_sgd", kPlain + Coded("power-sgd", "rank = 1\n") + kMasks};
  std::ofstream(job) << JobText(ToyBaseModel(), kText, two_sums, kFiveClients);
  deployment.StartCoordinator();
  for (const auto& [name, file] : files) {
    const bool dies = name == "eve";
    deployment.StartAgent(
        name, kSeededAgent, file,
        dies ? Process::Environment{{"TOY_DIE", "after-upload"}} : Process::Environment());
  }
  ASSERT_EQ(deployment.Operate({"job", "submit", job.string()}).code, 0);
  EXPECT_EQ(deployment.agent("eve").Wait(), 128 + SIGKILL);
  ASSERT_TRUE(WaitUntil([&] {
    const json view = Shown(deployment);
    return !view["rounds"].empty() && view["rounds"][0]["state"] == "done";
  }));
  deployment.KillCoordinator();
  deployment.StartCoordinator();
  deployment.StartAgent("eve", kSeededAgent, files.at("eve"));
  EXPECT_EQ(deployment.Operate({"job", "watch", "@last"}).code, 0);
  json daemon = Shown(deployment), done = json::array();
  // An attempt that was begun before the coordinator knew of the death is begun anew.
  for (json& round : daemon["rounds"]) {
    if (round["state"] == "done") done.push_back(round);
  }
  ASSERT_EQ(done.size(), 2u);
  done[1]["attempt"] = done[0]["attempt"];
  daemon["rounds"] = done;
  ExpectSimulated(deployment, job, files, daemon);
}

// ---- classification on a fine-tuned bert: its classifier and pooler go on from where they are

// The golden bert with a tokenizer for its 97 pieces: the first ones of another bert's.
void MakeBert(const fs::path& folder) {
  fs::create_directories(folder);
  for (const char* file : {"config.json", "model.safetensors"})
    fs::copy_file(GoldenFolder() / "models/bert" / file, folder / file);
  auto tokenizer =
      json::parse(*ReadFile(SharedFolder() / "models/bert-7m/tokenizer.json", uint64_t{16} << 20));
  auto& vocabulary = tokenizer["model"]["vocab"];
  for (auto piece = vocabulary.begin(); piece != vocabulary.end();)
    piece = piece.value() < 97 ? std::next(piece) : vocabulary.erase(piece);
  std::ofstream(folder / "tokenizer.json") << tokenizer.dump();
}

constexpr char kClasses[] =
    "[data]\ndataset = \"fortunes\"\nformat = \"tsv\"\ntask = \"classification\"\n"
    "labels = [\"low\", \"mid\", \"top\"]\nseq-length = 32\n";

// Sixty records of three classes, dealt by Dirichlet: shards that lack a class.
std::map<std::string, fs::path> WriteShards(const fs::path& folder) {
  const char* const classes[] = {"low", "mid", "top"};
  std::vector<Record> records(60);
  for (size_t at = 0; at < records.size(); ++at) {
    const std::string word(1 + at % 7, static_cast<char>('a' + 8 * (at % 3)));
    records[at].fields = {{"text", word + " " + std::to_string(at)}, {"label", classes[at % 3]}};
  }
  SimulateSection simulate;
  simulate.partition = "dirichlet";
  simulate.num_clients = 3;
  simulate.partition_alpha = 0.1;
  DataSection data;
  data.task = "classification";
  const auto parts = PartitionRecords(records, simulate, data, 5);
  EXPECT_TRUE(parts.ok()) << parts.status();
  std::map<std::string, fs::path> files;
  for (const ClientPart& part : parts->clients) {
    files[part.name] = folder / (part.name + ".tsv");
    std::ofstream out(files[part.name]);
    out << "text\tlabel\n";
    for (const uint32_t at : part.records) {
      out << records[at].fields["text"] << '\t' << records[at].fields["label"] << '\n';
    }
  }
  return files;
}

size_t ClassesIn(const fs::path& shard) {
  const std::string text = *ReadFile(shard, 1 << 20);
  size_t classes = 0;
  for (const char* label : {"\tlow\n", "\tmid\n", "\ttop\n"}) {
    classes += text.find(label) != std::string::npos;
  }
  return classes;
}

TEST(SimulationEqualsDaemon, AFineTunedHeadGoesOnInBothAndIsExported) {
  RV_SKIP_WITHOUT(SharedFolder() / "models/bert-7m");
  Deployment deployment;
  const fs::path base = deployment.folder() / "bert";
  MakeBert(base);
  deployment.UseBaseModel(base);
  fs::create_directories(deployment.folder() / "data");
  const auto files = WriteShards(deployment.folder() / "data");
  ASSERT_EQ(files.size(), 3u);
  size_t lacking = 0;
  for (const auto& [name, file] : files) lacking += ClassesIn(file) < 3;
  ASSERT_GT(lacking, 0u);  // otherwise every client would number alike by itself
  const Kind head{"head", "[lora]\nlora-r = 2\nmodules-to-save = [\"pooler.dense\"]\n"};
  Start(deployment, files, kAgent);
  ExpectEqual(deployment, JobText(base, kClasses, head), files);

  const fs::path downloaded = deployment.folder() / "adapter";
  const Finished got =
      deployment.Operate({"job", "download", "@last", "--out", downloaded.string()});
  ASSERT_EQ(got.code, 0) << got.err;
  const fs::path simulated = deployment.folder() / "runs/latest/adapter";
  const char* const kWeights = "adapter_model.safetensors";
  EXPECT_EQ(*ReadFile(downloaded / kWeights, 1 << 24), *ReadFile(simulated / kWeights, 1 << 24));
  const auto trained = SafetensorsFile::Open(simulated / kWeights);
  const auto before = SafetensorsFile::Open(base / "model.safetensors");
  ASSERT_TRUE(trained.ok() && before.ok());
  for (const std::string name : {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight",
                                 "bert.pooler.dense.bias"}) {
    const TensorView* const now = trained->view().Find("base_model.model." + name);
    const TensorView* const was = before->view().Find(name);
    ASSERT_NE(now, nullptr) << name;
    ASSERT_NE(was, nullptr) << name;
    ASSERT_EQ(now->spec.shape, was->spec.shape);
    float moved = 0;
    for (size_t at = 0; at < now->bytes.size(); at += sizeof(float)) {
      float a, b;
      std::memcpy(&a, now->bytes.data() + at, sizeof a);
      std::memcpy(&b, was->bytes.data() + at, sizeof b);
      moved = std::max(moved, std::abs(a - b));
    }
    EXPECT_GT(moved, 0) << name;
    EXPECT_LT(moved, 0.01f) << name;  // four steps of 3e-4: it started from the base model's values
  }
}

}  // namespace
}  // namespace rivulet
