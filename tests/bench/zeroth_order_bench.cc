// A step without backpropagation beside its own two forward passes, several losses of one pass
// beside a pass for each, and the memory of it all beside that of inference, over the model that
// ships with us. Sides in turns in one run. Prints JSON lines. Not a test.
//   zeroth_order_bench [steps=4] [repeats=3] [forms=steps,batched,exact,whole]
#include <ATen/ATen.h>
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>

#include "common/formats/adapter_manifest.h"
#include "common/random.h"
#include "peft/method/method.h"
#include "peft/model/network.h"
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

// Memory of this process, at most, since ForgetPeak.
double PeakMiB() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtod(line.c_str() + 6, nullptr) / 1024;
  }
  return 0;
}
void ForgetPeak() {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
}

struct Size {
  int batch, length;
  int tokens() const { return batch * length; }
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

using BasePtr = std::shared_ptr<const BaseModel>;

// One client's round over `examples`.
struct Client {
  Client(const BasePtr& base, const JobSpec& job, const ParameterSet& state,
         const std::vector<Example>& examples)
      : tuner(*MakeZerothOrderTuner(base, job)) {
    request.global = &state;
    request.examples = examples;
    request.client = "bench";
  }
  double SecondsOfStep(int steps) {
    const double start = CpuSeconds();
    (void)*tuner->Tune(request);
    return (CpuSeconds() - start) / steps;
  }

  std::unique_ptr<Tuner> tuner;
  TuneRequest request;
};

// Of one of several clients that take their steps in turns: the fastest, and the peak of its first.
struct Fastest {
  double seconds = 1e30, peak_mib = 0;
};
void InTurn(std::vector<Client>& clients, int steps, bool first, std::vector<Fastest>& fastest) {
  fastest.resize(clients.size());
  for (size_t i = 0; i < clients.size(); ++i) {
    ForgetPeak();
    fastest[i].seconds = std::min(fastest[i].seconds, clients[i].SecondsOfStep(steps));
    if (first) fastest[i].peak_mib = PeakMiB();
  }
}

ParameterSet StateOf(const BasePtr& base, const JobSpec& job) {
  return *InitialState(*PlanAdapter(base->config(), base->match(), job), 1, &base->files());
}

void Steps(const BasePtr& base, JobSpec job, int steps, int repeats) {
  for (const int rank : {8, 1}) {
    job.lora.lora_r = rank;
    const ParameterSet state = StateOf(base, job);
    for (const Size& size : kSizes) {
      job.train.per_device_train_batch_size = size.batch;
      const std::vector<Example> examples = ExamplesOf(size);
      Client client(base, job, state, examples);
      double step = 1e30, forward = 1e30, inference = 0;
      ForgetPeak();
      for (int repeat = 0; repeat < repeats; ++repeat) {
        const double start = CpuSeconds();
        for (int pass = 0; pass < 2 * steps; ++pass) (void)*client.tuner->Evaluate(state, examples);
        forward = std::min(forward, (CpuSeconds() - start) / steps);
        if (repeat == 0) inference = PeakMiB();
        step = std::min(step, client.SecondsOfStep(steps));
      }
      std::printf(
          "{\"bench\":\"mezo step\",\"rank\":%d,\"tokens\":%d,\"two_forwards_ms\":%.2f,"
          "\"step_ms\":%.2f,\"ratio\":%.3f,\"aim\":1.05,\"inference_mib\":%.1f,\"step_mib\":%.1f}"
          "\n",
          rank, size.tokens(), 1e3 * forward, 1e3 * step, step / forward, inference, PeakMiB());
      std::fflush(stdout);
    }
  }
}

// Steps of four queries: a pass for each loss, two and eight losses a pass.
void Batched(const BasePtr& base, JobSpec job, int steps, int repeats) {
  job.train.queries = 4;
  const ParameterSet state = StateOf(base, job);
  for (const Size& size : {kSizes[0], kSizes[1], kSizes[2]}) {
    job.train.per_device_train_batch_size = size.batch;
    const std::vector<Example> examples = ExamplesOf(size);
    constexpr int kBatched[] = {0, 1, 4};
    std::vector<Client> clients;
    for (const int batched : kBatched) {
      job.train.batched_queries = batched;
      clients.emplace_back(base, job, state, examples);
    }
    std::vector<Fastest> each;
    for (int repeat = 0; repeat < repeats; ++repeat) InTurn(clients, steps, repeat == 0, each);
    for (size_t i = 1; i < clients.size(); ++i) {
      std::printf(
          "{\"bench\":\"batched queries\",\"tokens\":%d,\"losses\":8,\"losses_of_pass\":%d,"
          "\"a_pass_each_ms\":%.2f,\"batched_ms\":%.2f,\"ratio\":%.3f,\"a_pass_each_mib\":%.1f,"
          "\"batched_mib\":%.1f}\n",
          size.tokens(), 2 * kBatched[i], 1e3 * each[0].seconds, 1e3 * each[i].seconds,
          each[i].seconds / each[0].seconds, each[0].peak_mib, each[i].peak_mib);
    }
    std::fflush(stdout);
  }
}

// Exact slopes and two-point differences along one direction, and a step of backpropagation.
void Exact(const BasePtr& base, JobSpec job, int steps, int repeats) {
  const ParameterSet state = StateOf(base, job);
  for (const Size& size : {kSizes[0], kSizes[1], kSizes[2]}) {
    job.train.per_device_train_batch_size = size.batch;
    const std::vector<Example> examples = ExamplesOf(size);
    constexpr const char* kEstimators[] = {"central", "forward", "backprop"};
    std::vector<Client> clients;
    for (const std::string estimator : kEstimators) {
      job.train.estimator = estimator;
      clients.emplace_back(base, job, state, examples);
      if (estimator == "backprop") clients.back().tuner = *MakeFirstOrderTuner(base, job);
    }
    std::vector<Fastest> each;
    for (int repeat = 0; repeat < repeats; ++repeat) InTurn(clients, steps, repeat == 0, each);
    std::printf("{\"bench\":\"exact slopes\",\"tokens\":%d", size.tokens());
    for (size_t i = 0; i < clients.size(); ++i) {
      std::printf(",\"%s_ms\":%.2f,\"%s_mib\":%.1f", kEstimators[i], 1e3 * each[i].seconds,
                  kEstimators[i], each[i].peak_mib);
    }
    std::printf("}\n");
    std::fflush(stdout);
  }
}

// Passes over the numbers of `state` as they lie there.
class Inference {
 public:
  Inference(const BasePtr& base, const JobSpec& job, const ParameterSet& state,
            const std::vector<Example>& examples)
      : network_(MakeNetwork(base)),
        method_(*MakeMethod(*PlanAdapter(base->config(), base->match(), job), job)) {
    std::vector<at::Tensor> leaves;
    for (size_t i = 0; i < state.size(); ++i) {
      leaves.push_back(at::from_blob(const_cast<float*>(state.floats(i).data()),
                                     state.manifest()[i].shape, at::kFloat));
    }
    adaptation_ = method_->Bind(leaves);
    std::vector<const Example*> chosen;
    for (const Example& example : examples) chosen.push_back(&example);
    batch_ = *MakeBatch(chosen, Task::kCausalLm, base->config());
  }
  double SecondsOfTwo(int times) {
    const at::NoGradGuard no_grad;
    Pass pass = {&workspace_, std::nullopt, false};
    const double start = CpuSeconds();
    for (int time = 0; time < 2 * times; ++time) {
      (void)BatchLoss(*network_, batch_, Task::kCausalLm, adaptation_, pass);
    }
    return (CpuSeconds() - start) / times;
  }

 private:
  std::unique_ptr<Network> network_;
  std::unique_ptr<Method> method_;
  Adaptation adaptation_;
  Batch batch_;
  kernels::Workspace workspace_;
};

// All numbers of the model, with updates of coefficients, so that none of its size is made.
void Whole(const BasePtr& base, JobSpec job, int steps, int repeats) {
  job.method = "full";
  job.scalars.enabled = true;
  const ParameterSet state = StateOf(base, job);
  for (const Size& size : {kSizes[0], kSizes[1], kSizes[2]}) {
    job.train.per_device_train_batch_size = size.batch;
    const std::vector<Example> examples = ExamplesOf(size);
    Inference inference(base, job, state, examples);
    constexpr const char* kDirections[] = {"rademacher", "low-rank"};
    std::vector<Client> clients;
    for (const char* direction : kDirections) {
      job.train.direction = direction;
      clients.emplace_back(base, job, state, examples);
    }
    double forward = 1e30, peak = 0;
    std::vector<Fastest> each;
    for (int repeat = 0; repeat < repeats; ++repeat) {
      ForgetPeak();
      forward = std::min(forward, inference.SecondsOfTwo(steps));
      if (repeat == 0) peak = PeakMiB();
      InTurn(clients, steps, repeat == 0, each);
    }
    for (size_t i = 0; i < clients.size(); ++i) {
      std::printf(
          "{\"bench\":\"whole model\",\"direction\":\"%s\",\"tokens\":%d,\"numbers_mib\":%.1f,"
          "\"two_forwards_ms\":%.2f,\"step_ms\":%.2f,\"ratio\":%.3f,\"inference_mib\":%.1f,"
          "\"step_mib\":%.1f}\n",
          kDirections[i], size.tokens(),
          static_cast<double>(SizeBytesOf(state.manifest())) / 0x1p20, 1e3 * forward,
          1e3 * each[i].seconds, each[i].seconds / forward, peak, each[i].peak_mib);
    }
    std::fflush(stdout);
  }
}

int Run(int steps, int repeats, const std::string& forms) {
  JobSpec job;
  job.lora.lora_target_modules = {"all-linear"};
  job.lora.lora_dropout = 0;
  job.train.estimator = "central";
  job.train.optimizer = "sgd";
  job.train.learning_rate = 1e-6;
  job.train.max_grad_norm = 0;
  job.train.max_steps = steps;
  const auto base =
      LoadBaseModel(std::filesystem::path(RIVULET_SOURCE_DIR) / "simulations/models/llama-7m", job);
  if (!base.ok()) return std::fprintf(stderr, "%s\n", base.status().ToString().c_str()), 1;
  if (forms.find("steps") != forms.npos) Steps(*base, job, steps, repeats);
  if (forms.find("batched") != forms.npos) Batched(*base, job, steps, repeats);
  if (forms.find("exact") != forms.npos) Exact(*base, job, steps, repeats);
  if (forms.find("whole") != forms.npos) Whole(*base, job, steps, repeats);
  return 0;
}

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  return rivulet::Run(argc > 1 ? std::atoi(argv[1]) : 4, argc > 2 ? std::atoi(argv[2]) : 3,
                      argc > 3 ? argv[3] : "steps,batched,exact,whole");
}
