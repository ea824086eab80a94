// Tokens per second of a LoRA step beside a bare sequence of matrix products of the same FLOPs,
// and loading a model beside reading its file, in one run. Prints JSON lines. Not a test.
//   peft_step_bench [clients=1] [steps=8] [shape=small|large|all] [dtype=float32|bfloat16]
//   [threads=1]
#include <ATen/ATen.h>
#include <sys/resource.h>
#include <torch/utils.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <string_view>
#include <thread>
#include <vector>

#include "common/formats/adapter_manifest.h"
#include "common/formats/safetensors_writer.h"
#include "common/random.h"
#include "peft/kernels/gemm.h"
#include "peft/model/base_model.h"
#include "peft/trainer/first_order_tuner.h"
#include "peft/trainer/process.h"

namespace rivulet {
namespace {

struct Shape {
  const char* name;
  int64_t hidden, inner, layers, heads, kv_heads, vocabulary, batch, length;
  int64_t head_dim() const { return hidden / heads; }
};
constexpr Shape kShapes[] = {{"llama-7m", 256, 704, 8, 4, 2, 4096, 4, 128},
                             {"llama-100m", 768, 2048, 12, 12, 4, 16384, 4, 256}};

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Of all threads of this process: other programs on the machine do not count.
double CpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// The frozen products of one forward pass: (outputs, inputs).
std::vector<std::pair<int64_t, int64_t>> Products(const Shape& s) {
  std::vector<std::pair<int64_t, int64_t>> all;
  const int64_t kv = s.kv_heads * s.head_dim();
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    for (auto p : {std::pair{s.hidden, s.hidden},
                   {kv, s.hidden},
                   {kv, s.hidden},
                   {s.hidden, s.hidden},
                   {s.inner, s.hidden},
                   {s.inner, s.hidden},
                   {s.hidden, s.inner}}) {
      all.push_back(p);
    }
  }
  all.push_back({s.vocabulary, s.hidden});
  return all;
}

// Matrix products of a step's FLOPs on one thread: forward and input gradient of every frozen
// matrix, in libtorch's BLAS. Returns CPU seconds.
double BareProducts(const Shape& s, double flops, at::ScalarType dtype) {
  const int64_t rows = s.batch * s.length;
  double done = 0, started = 0, seconds = 0;
  const torch::NoGradGuard no_grad;
  std::vector<std::pair<at::Tensor, at::Tensor>> operands;
  for (const auto& [out, in] : Products(s)) {
    operands.emplace_back(at::randn({out, in}).to(dtype), at::randn({rows, in}).to(dtype));
  }
  while (done < flops) {
    started = CpuSeconds();
    for (const auto& [weight, x] : operands) {
      const at::Tensor y = at::mm(x, weight.t());
      const at::Tensor dx = at::mm(y, weight);
      done += 4.0 * static_cast<double>(rows * weight.numel());
    }
    seconds += CpuSeconds() - started;
  }
  return seconds * flops / done;
}

// FLOPs of one LoRA step of rank r on every linear layer: 4 per frozen weight and token, 6 per
// trained one, 3.5 attention products of 4 h T a token and layer, half of them masked.
double StepFlops(const Shape& s, int64_t rank) {
  const double tokens = static_cast<double>(s.batch * s.length);
  double weights = 0, trained = 0;
  for (const auto& [out, in] : Products(s)) {
    weights += static_cast<double>(out * in);
    trained += static_cast<double>(rank * (out + in));
  }
  trained -= static_cast<double>(rank * (s.vocabulary + s.hidden));
  const double attention = 3.5 * 4 * static_cast<double>(s.hidden * s.length * s.layers) / 2;
  return tokens * (4 * weights + 6 * trained + attention);
}

std::filesystem::path WriteModel(const Shape& s) {
  const auto folder = std::filesystem::temp_directory_path() / (std::string("rivulet-") + s.name);
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json")
      << R"({"model_type":"llama","architectures":["LlamaForCausalLM"],"tie_word_embeddings":true,)"
      << R"("hidden_size":)" << s.hidden << R"(,"intermediate_size":)" << s.inner
      << R"(,"num_hidden_layers":)" << s.layers << R"(,"num_attention_heads":)" << s.heads
      << R"(,"num_key_value_heads":)" << s.kv_heads << R"(,"vocab_size":)" << s.vocabulary
      << R"(,"max_position_embeddings":2048})";
  const auto config = ReadModelConfig(folder);
  Manifest manifest;
  for (const ExpectedTensor& tensor : ExpectedTensors(*config)) {
    if (tensor.need == TensorNeed::kTied) continue;
    manifest.push_back({tensor.name, DType::kF32, tensor.shape});
  }
  std::sort(manifest.begin(), manifest.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  ParameterSet weights(manifest);
  const RandomStream stream(1, Purpose::kBaseTensor, 0);
  for (size_t i = 0; i < weights.size(); ++i) {
    stream.FillGauss(static_cast<uint32_t>(i), weights.floats(i));
    const bool norm = manifest[i].shape.size() == 1;
    for (float& value : weights.floats(i)) value = norm ? 1.0f : value * 0.02f;
  }
  const absl::Status written = WriteSafetensors(folder / "model.safetensors", weights);
  if (!written.ok()) std::printf("%s\n", written.ToString().c_str());
  return folder;
}

std::vector<Example> RandomExamples(const Shape& s, int count) {
  RandomCursor cursor(RandomStream(2, Purpose::kPartition, 0));
  std::vector<Example> examples(count);
  for (Example& example : examples) {
    for (int64_t t = 0; t < s.length; ++t) {
      example.ids.push_back(
          static_cast<int32_t>(cursor.Bounded(static_cast<uint32_t>(s.vocabulary))));
    }
  }
  return examples;
}

JobSpec JobOf(const Shape& s, int steps, const char* dtype, int threads) {
  JobSpec job;
  job.model.dtype = dtype;
  job.lora.lora_target_modules = {"all-linear"};
  job.lora.lora_dropout = 0;
  job.train.per_device_train_batch_size = static_cast<int>(s.batch);
  job.train.max_steps = steps;
  job.train.threads = threads;
  return job;
}

// Weights that are views of a mapped file are read where they are used: here, a byte of each page.
int64_t TouchPages(const BaseModel& base) {
  int64_t sum = 0;
  for (const auto& [name, tensor] : base.tensors()) {
    const auto* bytes = static_cast<const unsigned char*>(tensor.data_ptr());
    for (size_t at = 0; at < tensor.nbytes(); at += 4096) sum += bytes[at];
  }
  return sum;
}

void ReportLoading(const Shape& s, const std::filesystem::path& folder, const JobSpec& job) {
  const auto path = folder / "model.safetensors";
  const double bytes = static_cast<double>(std::filesystem::file_size(path));
  std::vector<char> buffer(static_cast<size_t>(bytes));
  double read = 1e9, load = 1e9;
  for (int repeat = 0; repeat < 5; ++repeat) {
    double started = Seconds();
    std::ifstream(path, std::ios::binary).read(buffer.data(), static_cast<std::streamsize>(bytes));
    read = std::min(read, Seconds() - started);
    started = Seconds();
    const auto base = LoadBaseModel(folder, job);
    if (!base.ok() || TouchPages(**base) == 0) return;
    load = std::min(load, Seconds() - started);
  }
  std::printf(R"({"bench":"model_load","shape":"%s","load_s":%.4f,"read_s":%.4f,"ratio":%.2f})"
              "\n",
              s.name, load, read, read / load);
}

double TuneOnAll(Tuner& tuner, const ParameterSet& global, std::span<const Example> examples,
                 int clients) {
  std::vector<std::thread> threads;
  const double started = Seconds();
  for (int client = 0; client < clients; ++client) {
    threads.emplace_back([&, client] {
      TuneRequest request;
      request.global = &global;
      request.examples = examples;
      request.client = "client" + std::to_string(client);
      const auto result = tuner.Tune(request);
      if (!result.ok()) std::printf("%s\n", result.status().ToString().c_str());
    });
  }
  for (std::thread& thread : threads) thread.join();
  return Seconds() - started;
}

void Report(const Shape& s, int clients, int steps, const char* dtype, int threads) {
  const auto folder = WriteModel(s);
  const JobSpec job = JobOf(s, steps, dtype, threads);
  ReportLoading(s, folder, job);
  const auto base = LoadBaseModel(folder, job);
  if (!base.ok()) return;
  auto tuner = MakeFirstOrderTuner(*base, job);
  const auto plan = PlanAdapter((*base)->config(), (*base)->match(), job);
  const auto global = InitialState(*plan, 1);
  const auto examples = RandomExamples(s, steps * static_cast<int>(s.batch));
  SetComputeThreads(1);
  const double flops = StepFlops(s, job.lora.lora_r);
  TuneOnAll(**tuner, *global, examples, clients);  // warm-up
  // Without instructions for it a bf16 product of libtorch is no limit: it is slower than float32.
  const bool narrow = std::string_view(dtype) == "bfloat16" && kernels::MultipliesBf16();
  double step = 1e9, bare = 1e9, bare_narrow = 1e9, cpu = 1e9;
  for (int repeat = 0; repeat < 5; ++repeat) {
    bare = std::min(bare, BareProducts(s, flops * 4, at::kFloat) / 4);
    if (narrow) bare_narrow = std::min(bare_narrow, BareProducts(s, flops * 4, at::kBFloat16) / 4);
    const double started = CpuSeconds();
    step = std::min(step, TuneOnAll(**tuner, *global, examples, clients) / steps);
    cpu = std::min(cpu, (CpuSeconds() - started) / (steps * clients));
  }
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const double tokens = static_cast<double>(s.batch * s.length);
  std::printf(
      R"({"bench":"lora_step","shape":"%s","dtype":"%s","clients":%d,"threads":%d,"tokens":%.0f,)"
      R"("tokens_per_s":%.0f,"gflop_per_step":%.2f,"step_s":%.4f,)"
      R"("step_cpu_s":%.4f,"bare_gemm_cpu_s":%.4f,"tokens_per_cpu_s":%.0f,)"
      R"("ratio":%.3f,"peak_rss_mib":%ld)",
      s.name, dtype, clients, threads, tokens, clients * tokens / step, flops * 1e-9, step, cpu,
      bare, tokens / cpu, bare / cpu, usage.ru_maxrss / 1024);
  if (narrow) {
    std::printf(R"(,"bare_bf16_gemm_cpu_s":%.4f,"bf16_ratio":%.3f)", bare_narrow,
                bare_narrow / cpu);
  }
  std::printf("}\n");
}

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  const int clients = argc > 1 ? std::atoi(argv[1]) : 1;
  const int steps = argc > 2 ? std::atoi(argv[2]) : 8;
  const std::string wanted = argc > 3 ? argv[3] : "all";
  const char* dtype = argc > 4 ? argv[4] : "float32";
  const int threads = argc > 5 ? std::atoi(argv[5]) : 1;
  if (wanted != "large") rivulet::Report(rivulet::kShapes[0], clients, steps, dtype, threads);
  if (wanted != "small") rivulet::Report(rivulet::kShapes[1], clients, steps, dtype, threads);
}
