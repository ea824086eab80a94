// What the simulation costs beside the training itself: RunSimulation with a tuner that does
// nothing, 1,000 clients, 100 a round, 10 rounds, beside the limit measured in the same process.
// Prints JSON lines, one for each state size. Not a test.
//   simulation_bench
//
// ms_per_client_round  of the rounds alone: assignment, download, checked upload, sum, publication
// limit_ms             one SHA-256 and one exact sum of the same bytes, on one thread
// wall_ms              all of the run, with the evaluations of all clients before and after
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "aggregation/fixed_point_sum.h"
#include "common/formats/safetensors_writer.h"
#include "common/io/sha256.h"
#include "common/job/job_document.h"
#include "common/job/job_model.h"
#include "simulations/engine/simulation.h"

namespace rivulet {
namespace {

constexpr char kBase[] = RIVULET_SOURCE_DIR "/simulations/models/llama-7m";
constexpr int kClients = 1000, kCohort = 100, kRounds = 10;

double NowMs() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

class NoTuner final : public Tuner {
 public:
  explicit NoTuner(Manifest manifest) : manifest_(std::move(manifest)) {}
  absl::StatusOr<TuneResult> Tune(const TuneRequest& request) override {
    TuneResult result;
    result.delta = ParameterSet(manifest_);
    result.examples = result.tokens = result.steps = 1;
    return result;
  }
  absl::StatusOr<EvaluationSums> Evaluate(const ParameterSet&, std::span<const Example>) override {
    return EvaluationSums();
  }
  const Manifest& manifest() const override { return manifest_; }

 private:
  const Manifest manifest_;
};

class NoData final : public LocalResources {
 public:
  absl::StatusOr<std::filesystem::path> BaseModel(const JobSpec&, const std::string&) override {
    return kBase;
  }
  absl::StatusOr<ClientData> Data(const std::string&, const JobSpec&, const Tokenizer&,
                                  int) override {
    ClientData data;
    data.train.push_back({{1, 2, 3}, {}, {}, -1});
    return data;
  }
};

JobSpec BenchSpec(int rank) {
  JobSpec spec;
  spec.job.num_rounds = kRounds;
  spec.job.clients_per_round = kCohort;
  spec.job.min_clients = kCohort;
  spec.job.min_available_clients = kClients;
  spec.model.name = "llama-7m";
  spec.lora.lora_r = rank;
  spec.lora.lora_target_modules = {"q_proj"};
  spec.strategy.weighting = "uniform";
  return spec;
}

// Milliseconds to hash and to sum one update.
absl::StatusOr<double> Limit(const Manifest& manifest) {
  const ParameterSet delta(manifest);
  const std::string file = SafetensorsBytes(delta);
  RV_ASSIGN_OR_RETURN(FixedPointSum sum, FixedPointSum::Make(manifest));
  const double began = NowMs();
  for (int update = 0; update < kCohort; ++update) {
    if (Sha256Hex(file).size() != 64) return absl::InternalError("hash");
    RV_RETURN_IF_ERROR(sum.AddWeight(1));
    for (size_t row = 0; row < manifest.size(); ++row) {
      const WeightedPiece piece{delta.floats(row), 1};
      RV_RETURN_IF_ERROR(sum.AddPieces(row, 0, {&piece, 1}));
    }
  }
  return (NowMs() - began) / kCohort;
}

absl::Status Measure(int rank) {
  RV_ASSIGN_OR_RETURN(const JobDocument document, DescribeJob(kBase, BenchSpec(rank)));
  RV_ASSIGN_OR_RETURN(const JobModel model, JobModelOf(document));
  const Manifest manifest = model.plan.wire();
  RV_ASSIGN_OR_RETURN(const double limit, Limit(manifest));
  SimulationConfig config;
  config.spec = document.spec;
  config.base_model = kBase;
  config.document = JobDocumentText(document);
  config.tuners = [&manifest](const std::filesystem::path&,
                              const JobSpec&) -> absl::StatusOr<std::unique_ptr<Tuner>> {
    return std::make_unique<NoTuner>(manifest);
  };
  std::vector<std::string> clients;
  for (int client = 0; client < kClients; ++client) clients.push_back("c" + std::to_string(client));
  NoData resources;
  const double began = NowMs();
  RV_ASSIGN_OR_RETURN(
      const SimulationResult result,
      RunSimulation(
          config, clients, resources, [](const JobEvent&) {}, [](const JobView&) { return true; }));
  const double wall = NowMs() - began;
  if (result.view.state != JobState::kFinished) return absl::InternalError(result.view.reason);
  double rounds = 0;
  for (const RoundView& round : result.view.rounds)
    rounds += static_cast<double>(round.figures.milliseconds);
  std::printf(
      "{\"bench\":\"simulation\",\"state_bytes\":%llu,\"clients\":%d,\"cohort\":%d,\"rounds\":%d,"
      "\"ms_per_client_round\":%.3f,\"limit_ms\":%.3f,\"ratio\":%.2f,\"wall_ms\":%.0f,\"peak_rss_"
      "mib\":%.1f}\n",
      static_cast<unsigned long long>(SizeBytesOf(manifest)), kClients, kCohort, kRounds,
      rounds / (kCohort * kRounds), limit, limit * kCohort * kRounds / rounds, wall,
      static_cast<double>(result.peak_rss_bytes) / (1 << 20));
  return absl::OkStatus();
}

// In a process of its own, so that peaks of memory do not add up.
int MeasureApart(int rank) {
  const pid_t child = fork();
  if (child == 0) {
    const absl::Status status = Measure(rank);
    if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    std::fflush(stdout);
    _exit(status.ok() ? 0 : 1);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
}

}  // namespace
}  // namespace rivulet

// 8 layers of [256, 256]: 16 KiB for each rank, so 64 KiB and 1 MiB.
int main() { return rivulet::MeasureApart(4) + rivulet::MeasureApart(64); }
