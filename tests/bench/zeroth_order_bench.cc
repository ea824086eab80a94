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
#include "common/formats/safetensors.h"
#include "common/formats/safetensors_writer.h"
#include "common/random.h"
#include "peft/method/method.h"
#include "peft/model/network.h"
#include "peft/trainer/first_order_tuner.h"
#include "peft/trainer/trainable_state.h"
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

// Of one of several sides that take turns: the fastest turn, and the peak of the first.
struct Fastest {
  double seconds = 1e30, peak_mib = 0;

  void Add(double of_turn, double peak) {
    if (peak_mib == 0) peak_mib = peak;
    seconds = std::min(seconds, of_turn);
  }
};
void InTurn(std::vector<Client>& clients, int steps, std::vector<Fastest>& fastest) {
  fastest.resize(clients.size());
  for (size_t i = 0; i < clients.size(); ++i) {
    ForgetPeak();
    const double seconds = clients[i].SecondsOfStep(steps);
    fastest[i].Add(seconds, PeakMiB());
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
    for (int repeat = 0; repeat < repeats; ++repeat) InTurn(clients, steps, each);
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
    for (int repeat = 0; repeat < repeats; ++repeat) InTurn(clients, steps, each);
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
  Inference(const BasePtr& base, const JobSpec& job, const std::vector<Example>& examples)
      : network_(MakeNetwork(base)),
        method_(*MakeMethod(*PlanAdapter(base->config(), base->match(), job), job)) {
    std::vector<const Example*> chosen;
    for (const Example& example : examples) chosen.push_back(&example);
    batch_ = *MakeBatch(chosen, Task::kCausalLm, base->config());
  }
  // The fastest two passes.
  double SecondsOfTwo(const ParameterSet& state, int times) {
    const at::NoGradGuard no_grad;
    const Adaptation adaptation = method_->Bind(TensorsIn(state));
    Pass pass = {&workspace_, std::nullopt, false};
    double fastest = 1e30;
    for (int time = 0; time < times; ++time) {
      const double start = CpuSeconds();
      for (int each = 0; each < 2; ++each) {
        (void)BatchLoss(*network_, batch_, Task::kCausalLm, adaptation, pass);
      }
      fastest = std::min(fastest, CpuSeconds() - start);
    }
    return fastest;
  }

 private:
  std::unique_ptr<Network> network_;
  std::unique_ptr<Method> method_;
  Batch batch_;
  kernels::Workspace workspace_;
};

// The fastest step of a round that walks in `state`, by the polls between its steps. The first one,
// which has no step before it to make, does not count.
double FastestStep(const BasePtr& base, const JobSpec& job, ParameterSet& state,
                   const std::vector<Example>& examples) {
  std::vector<double> polls;
  Client client(base, job, state, examples);
  client.request.spent = &state;
  client.request.cancelled = [&polls] {
    polls.push_back(CpuSeconds());
    return false;
  };
  (void)*client.tuner->Tune(client.request);
  double fastest = 1e30;
  for (size_t i = 2; i < polls.size(); ++i) fastest = std::min(fastest, polls[i] - polls[i - 1]);
  return fastest;
}

// All numbers of the model, with updates of coefficients. Each side makes in its turn what it
// needs, and reads the state from the same file in memory, as a client does. From three steps on.
void Whole(const BasePtr& base, JobSpec job, int steps, int repeats) {
  job.method = "full";
  job.scalars.enabled = true;
  const std::string file = SafetensorsBytes(StateOf(base, job));
  const auto read = [&file] { return *ReadParameterSet(file); };
  for (const Size& size : {kSizes[0], kSizes[1], kSizes[2]}) {
    job.train.per_device_train_batch_size = size.batch;
    const std::vector<Example> examples = ExamplesOf(size);
    constexpr const char* kDirections[] = {"rademacher", "low-rank"};
    Fastest inference, each[std::size(kDirections)];
    for (int repeat = 0; repeat < repeats; ++repeat) {
      ForgetPeak();
      const double two = Inference(base, job, examples).SecondsOfTwo(read(), steps);
      inference.Add(two, PeakMiB());
      for (size_t i = 0; i < std::size(kDirections); ++i) {
        job.train.direction = kDirections[i];
        ForgetPeak();
        ParameterSet state = read();
        const double step = FastestStep(base, job, state, examples);
        each[i].Add(step, PeakMiB());
      }
    }
    for (size_t i = 0; i < std::size(kDirections); ++i) {
      std::printf(
          "{\"bench\":\"whole model\",\"direction\":\"%s\",\"tokens\":%d,\"numbers_mib\":%.1f,"
          "\"two_forwards_ms\":%.2f,\"step_ms\":%.2f,\"ratio\":%.3f,\"inference_mib\":%.1f,"
          "\"step_mib\":%.1f,\"mib_ratio\":%.3f,\"aim\":1.05}\n",
          kDirections[i], size.tokens(), static_cast<double>(file.size()) / 0x1p20,
          1e3 * inference.seconds, 1e3 * each[i].seconds, each[i].seconds / inference.seconds,
          inference.peak_mib, each[i].peak_mib, each[i].peak_mib / inference.peak_mib);
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
  const int steps = argc > 1 ? std::atoi(argv[1]) : 4, repeats = argc > 2 ? std::atoi(argv[2]) : 3;
  if (steps < 3 || repeats < 1) {
    std::fprintf(stderr, "zeroth_order_bench: got %d steps and %d repeats, want 3 and 1 or more\n",
                 steps, repeats);
    return 2;
  }
  return rivulet::Run(steps, repeats, argc > 3 ? argv[3] : "steps,batched,exact,whole");
}
