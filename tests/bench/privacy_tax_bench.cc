// What masks cost a round, training and all: the quickstart's shape (llama-7m, LoRA r 8, 8 clients
// a round with 8 steps of 4 x 128 tokens) simulated plain and masked in turn, in one process.
// Processor seconds, the better of the repeats each. Prints a JSON line for each codec. Not a test.
//   privacy_tax_bench [rounds=2] [repeats=2]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "common/job/job_document.h"
#include "common/job/job_model.h"
#include "tests/unit/simulations/engine/letters.h"

namespace rivulet {
namespace {

// Of all threads: clients, masks and the coordinator share the process.
double Seconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

const std::vector<std::string>& Eight() {
  static const std::vector<std::string> names = {"ada", "bob", "cid", "dot",
                                                 "eva", "fay", "gus", "hal"};
  return names;
}

JobSpec SpecOf(int rounds, const std::string& codec, bool masked) {
  JobSpec spec = testing::LetterJob();
  spec.job.num_rounds = rounds;
  spec.job.min_clients = spec.job.min_available_clients = static_cast<int>(Eight().size());
  spec.lora.lora_r = 8;
  spec.lora.lora_target_modules = {"all-linear"};
  spec.data.seq_length = 128;
  spec.data.held_out_fraction = 0;
  spec.train.max_steps = 8;
  spec.train.per_device_train_batch_size = 4;
  spec.compression.codec = codec;
  spec.secure_aggregation.enabled = masked;
  return spec;
}

struct Cost {
  double seconds = 1e30;
  int64_t bytes_up = 0;
  int64_t protocol_bytes_up = 0;
};

absl::Status Measure(const JobSpec& spec, Cost& cost) {
  RV_ASSIGN_OR_RETURN(const JobDocument document, DescribeJob(testing::LetterModel(), spec));
  SimulationConfig config;
  config.spec = document.spec;
  config.base_model = testing::LetterModel();
  config.document = JobDocumentText(document);
  testing::LetterResources resources;
  const double began = Seconds();
  RV_ASSIGN_OR_RETURN(
      const SimulationResult result,
      RunSimulation(
          config, Eight(), resources, [](const JobEvent&) {}, [](const JobView&) { return true; }));
  cost.seconds = std::min(cost.seconds, Seconds() - began);
  cost.bytes_up = result.view.bytes_up;
  cost.protocol_bytes_up = result.view.protocol_bytes_up;
  if (result.view.state == JobState::kFinished) return absl::OkStatus();
  return absl::InternalError(result.view.reason);
}

absl::Status Compare(const std::string& codec, int rounds, int repeats) {
  Cost plain, masked;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    RV_RETURN_IF_ERROR(Measure(SpecOf(rounds, codec, false), plain));
    RV_RETURN_IF_ERROR(Measure(SpecOf(rounds, codec, true), masked));
  }
  const auto each = static_cast<int64_t>(Eight().size()) * rounds;
  std::printf(
      "{\"bench\":\"privacy_tax\",\"codec\":\"%s\",\"clients\":%zu,\"rounds\":%d,"
      "\"plain_s_per_round\":%.3f,\"masked_s_per_round\":%.3f,\"ratio\":%.3f,"
      "\"plain_bytes_up\":%lld,\"masked_bytes_up\":%lld,\"protocol_bytes_up\":%lld}\n",
      codec.c_str(), Eight().size(), rounds, plain.seconds / rounds, masked.seconds / rounds,
      masked.seconds / plain.seconds, static_cast<long long>(plain.bytes_up / each),
      static_cast<long long>(masked.bytes_up / each),
      static_cast<long long>(masked.protocol_bytes_up / each));
  std::fflush(stdout);
  return absl::OkStatus();
}

int Argument(int count, char** arguments, int position, int absent) {
  return count > position ? std::max(1, std::atoi(arguments[position])) : absent;
}

}  // namespace
}  // namespace rivulet

int main(int count, char** arguments) {
  using namespace rivulet;
  for (const char* codec : {"none", "int8"}) {
    const absl::Status done =
        Compare(codec, Argument(count, arguments, 1, 2), Argument(count, arguments, 2, 2));
    if (done.ok()) continue;
    std::fprintf(stderr, "%s\n", std::string(done.message()).c_str());
    return 1;
  }
}
