// A step without backpropagation beside its own two forward passes, and its memory beside that of
// inference, in one run, over the model that ships with us. Prints JSON lines. Not a test.
//   zeroth_order_bench [steps=4] [repeats=3]
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "common/formats/adapter_manifest.h"
#include "common/random.h"
#include "peft/model/base_model.h"
#include "peft/trainer/first_order_tuner.h"
#include "peft/zeroth_order/zeroth_order_tuner.h"

namespace rivulet {
namespace {

// Of all threads of this process: other programs on the machine do not count.
double CpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double PeakMiB() {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

struct Size {
  int batch, length;
};
constexpr Size kSizes[] = {{1, 64}, {1, 512}, {4, 512}, {32, 512}};

std::vector<Example> ExamplesOf(const Size& size) {
  RandomCursor cursor(RandomStream(1, Purpose::kBaseTensor, 0));
  std::vector<Example> examples(static_cast<size_t>(size.batch));
  for (Example& example : examples) {
    for (int at = 0; at < size.length; ++at) {
      example.ids.push_back(static_cast<int32_t>(5 + cursor.Bounded(1000)));
    }
  }
  return examples;
}

int Run(int steps, int repeats) {
  JobSpec job;
  job.lora.lora_target_modules = {"all-linear"};
  job.lora.lora_dropout = 0;
  job.train.optimizer = "sgd";
  job.train.max_grad_norm = 0;
  job.train.max_steps = steps;
  const auto base =
      LoadBaseModel(std::filesystem::path(RIVULET_SOURCE_DIR) / "simulations/models/llama-7m", job);
  if (!base.ok()) return std::fprintf(stderr, "%s\n", base.status().ToString().c_str()), 1;
  for (const int rank : {8, 1}) {
    job.lora.lora_r = rank;
    const ParameterSet state =
        *InitialState(*PlanAdapter((*base)->config(), (*base)->match(), job), 1);
    for (const Size& size : kSizes) {
      job.train.per_device_train_batch_size = size.batch;
      job.train.estimator = "central";
      const auto tuner = *MakeZerothOrderTuner(*base, job);
      const std::vector<Example> examples = ExamplesOf(size);
      TuneRequest request;
      request.global = &state;
      request.examples = examples;
      request.client = "bench";
      double step = 1e30, forward = 1e30;
      double inference = 0;  // memory, before the first step of this size
      for (int repeat = 0; repeat < repeats; ++repeat) {
        const double start = CpuSeconds();
        for (int pass = 0; pass < 2 * steps; ++pass) (void)*tuner->Evaluate(state, examples);
        const double middle = CpuSeconds();
        if (repeat == 0) inference = PeakMiB();
        (void)*tuner->Tune(request);
        forward = std::min(forward, (middle - start) / steps);
        step = std::min(step, (CpuSeconds() - middle) / steps);
      }
      std::printf(
          "{\"bench\":\"mezo step\",\"rank\":%d,\"tokens\":%d,\"two_forwards_ms\":%.2f,"
          "\"step_ms\":%.2f,\"ratio\":%.3f,\"aim\":1.05,\"inference_mib\":%.1f,\"step_mib\":%.1f}"
          "\n",
          rank, size.batch * size.length, 1e3 * forward, 1e3 * step, step / forward, inference,
          PeakMiB());
      std::fflush(stdout);
    }
  }
  return 0;
}

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  return rivulet::Run(argc > 1 ? std::atoi(argv[1]) : 4, argc > 2 ? std::atoi(argv[2]) : 3);
}
