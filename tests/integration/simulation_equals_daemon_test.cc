#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "common/job/job_document.h"
#include "common/job/job_file.h"
#include "common/job/job_model.h"
#include "peft/data/client_data.h"
#include "peft/data/record_reader.h"
#include "simulations/engine/simulation.h"
#include "tests/integration/deployment.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

constexpr char kJob[] =
    "num-rounds = 2\nmin-clients = 2\nclients-per-round = 2\nmin-available-clients = 3\n";
const std::map<std::string, std::string> kPassages = {
    {"ada", "The river rose in the night and took the lower bridge with it. Nobody saw it go.\n"},
    {"bob", "A list of tools lay on the bench: two chisels, a plane, a saw without teeth.\n"},
    {"cid", "When the lamps were lit she read the letter again, slowly, and put it away.\n"},
};

// Each client's own file: twelve records of a passage and its number.
std::map<std::string, fs::path> WriteData(const fs::path& folder) {
  std::map<std::string, fs::path> files;
  for (const auto& [name, passage] : kPassages) {
    files[name] = folder / (name + ".txt");
    std::ofstream out(files[name]);
    for (int record = 0; record < 12; ++record) out << passage << record << "\n%\n";
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

}  // namespace
}  // namespace rivulet
