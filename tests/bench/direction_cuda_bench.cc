// Directions on a GPU beside a copy of device memory, and replay of K directions element by element
// beside the product of matrices, all in one run. Medians. Prints JSON lines. Not a test.
//   direction_cuda_bench [values=536870912] [repeats=7] [directions=4096]
#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "common/direction/cuda/direction_cuda.h"
#include "common/direction/cuda/rank_one_replay_cuda.h"

namespace rivulet {
namespace {

void Must(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(error));
  std::exit(1);
}
void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::exit(1);
}

template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t size) : size_(size) {
    Must(cudaMalloc(reinterpret_cast<void**>(&data_), bytes()));
    // Random bits would be numbers that are none: half a million normal ones, over and over.
    std::vector<T> values(std::min<int64_t>(size, 1 << 19));
    std::vector<float> normal(values.size());
    RandomStream(1, Purpose::kBaseTensor, 0).FillGauss(0, normal);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = sizeof(T) == 4 ? static_cast<T>(0.02f * normal[i])
                                 : static_cast<T>(std::bit_cast<uint32_t>(0.02f * normal[i]) >> 16);
    }
    for (int64_t at = 0; at < size; at += static_cast<int64_t>(values.size())) {
      const size_t count = std::min<size_t>(values.size(), size - at);
      Must(cudaMemcpy(data_ + at, values.data(), count * sizeof(T), cudaMemcpyHostToDevice));
    }
  }
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* get() { return data_; }
  size_t bytes() const { return static_cast<size_t>(size_) * sizeof(T); }

 private:
  T* data_ = nullptr;
  int64_t size_;
};

using Work = std::function<void()>;

double Seconds(const Work& work) {
  cudaEvent_t start, stop;
  Must(cudaEventCreate(&start));
  Must(cudaEventCreate(&stop));
  Must(cudaEventRecord(start));
  work();
  Must(cudaEventRecord(stop));
  Must(cudaEventSynchronize(stop));
  float milliseconds = 0;
  Must(cudaEventElapsedTime(&milliseconds, start, stop));
  Must(cudaEventDestroy(start));
  Must(cudaEventDestroy(stop));
  return milliseconds * 1e-3;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// `work` and `limit` in turns A B B A.
void InTurns(int repeats, const Work& work, const Work& limit, double& own, double& other) {
  std::vector<double> a, b;
  work();
  limit();
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const bool first = repeat % 2 == 0;
    if (first) a.push_back(Seconds(work));
    b.push_back(Seconds(limit));
    if (!first) a.push_back(Seconds(work));
  }
  own = Median(a), other = Median(b);
}

struct Kind {
  const char* name;
  DirectionSettings settings;
};
constexpr Kind kKinds[] = {{"rademacher", {DirectionKind::kRademacher}},
                           {"gauss", {DirectionKind::kGauss}},
                           {"rank 1", {DirectionKind::kLowRank, 1}},
                           {"rank 4", {DirectionKind::kLowRank, 4}}};

// `bytes` of the work a value; the limit is a copy of as many bytes as f32 in place moves.
void Passes(int64_t values, int repeats) {
  const int64_t columns = 8192, rows = values / columns, n = rows * columns;
  const DevicePart part[] = {{{0, rows, columns}, n, 0}};
  Buffer<float> w(n), out(n);
  Buffer<uint16_t> half(n), half_out(n);
  const Work copy = [&] {
    Must(cudaMemcpyAsync(out.get(), w.get(), w.bytes(), cudaMemcpyDeviceToDevice, nullptr));
  };
  for (const Kind& kind : kKinds) {
    const DirectionAddress z{kind.settings, 1, 0}, next{kind.settings, 1, 1};
    const auto measure = [&](const char* what, double bytes, const Work& work) {
      double own, other;
      InTurns(repeats, work, copy, own, other);
      const double count = static_cast<double>(n), limit = 8 * count / other / 1e9;
      std::printf(
          "{\"bench\":\"%s, %s\",\"values\":%.0f,\"gelem_per_s\":%.1f,\"gb_per_s\":%.0f,"
          "\"copy_gb_per_s\":%.0f,\"ratio\":%.3f}\n",
          kind.name, what, count, count / own / 1e9, bytes * count / own / 1e9, limit,
          bytes * count / own / 1e9 / limit);
      std::fflush(stdout);
    };
    measure("f32 fill", 4, [&] { Must(FillDirectionCuda(z, part, out.get(), nullptr)); });
    measure("f32 in place", 8,
            [&] { Must(AddDirectionCuda(z, part, 1e-3f, w.get(), w.get(), nullptr)); });
    measure("f32 into a copy", 8,
            [&] { Must(AddDirectionCuda(z, part, 1e-3f, w.get(), out.get(), nullptr)); });
    measure("bf16 in place", 4,
            [&] { Must(AddDirectionCuda(z, part, 1e-3f, half.get(), half.get(), nullptr)); });
    measure("bf16 into a copy", 4,
            [&] { Must(AddDirectionCuda(z, part, 1e-3f, half.get(), half_out.get(), nullptr)); });
    measure("bf16 move and perturb in place", 4, [&] {
      Must(MoveAndPerturbCuda({z, 1e-3f, next, 1e-3f}, part, half.get(), half.get(), nullptr));
    });
  }
}

// With whole coefficients of which no sum of K leaves 2^24, element-wise rank 1 is exact too: every
// element must agree.
void Replays(int64_t rows, int64_t columns, int directions) {
  const int64_t n = rows * columns;
  const TensorPart matrix{0, rows, columns};
  const DevicePart part[] = {{matrix, n, 0}};
  std::vector<float> coefficients;
  FixedPoint fixed;
  for (int k = 0; k < directions; ++k) {
    fixed.values.push_back(static_cast<int32_t>(k * int64_t{7919} % 4001) - 2000);
    coefficients.push_back(static_cast<float>(fixed.values.back()));
  }
  auto replay = RankOneReplayCuda::Make();
  Must(replay.status());
  Buffer<float> w(n);
  const auto zero = [&] { Must(cudaMemset(w.get(), 0, w.bytes())); };
  const auto read = [&] {
    std::vector<float> values(n);
    Must(cudaMemcpy(values.data(), w.get(), w.bytes(), cudaMemcpyDeviceToHost));
    return values;
  };
  const DirectionAddress rank_one{{DirectionKind::kLowRank, 1}, 1, 0};
  const Work product = [&] { Must((*replay)->Add(rank_one, fixed, matrix, w.get(), nullptr)); };
  const auto element_wise = [&](const DirectionSettings& settings) {
    Must(ReplayDirectionsCuda({settings, 1, 0}, coefficients, part, w.get(), nullptr));
  };
  zero(), product();
  const std::vector<float> fast = read();
  zero(), element_wise({DirectionKind::kLowRank, 1});
  const bool equal = fast == read();
  for (const Kind& kind : kKinds) {
    if (kind.settings.rank != 1) continue;
    double own, other;
    InTurns(
        5, product, [&] { element_wise(kind.settings); }, own, other);
    const double draws = static_cast<double>(n) * directions;
    std::printf(
        "{\"bench\":\"replay of %d, %lld x %lld: %s element-wise\",\"ms\":%.3f,"
        "\"gelem_per_s\":%.1f,\"rank_one_product_ms\":%.3f,\"int8_tops\":%.0f,\"equal\":%s,"
        "\"ratio\":%.1f,\"aim\":30}\n",
        directions, static_cast<long long>(rows), static_cast<long long>(columns), kind.name,
        1e3 * other, draws / other / 1e9, 1e3 * own, 6 * draws / own / 1e12,
        equal ? "true" : "false", other / own);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  rivulet::Must(rivulet::CheckCuda());
  cudaDeviceProp device;
  rivulet::Must(cudaGetDeviceProperties(&device, 0));
  std::printf("{\"device\":\"%s\",\"multiprocessors\":%d}\n", device.name,
              device.multiProcessorCount);
  // Workspace that is given back stays in the pool, as in a run of many steps.
  cudaMemPool_t pool;
  uint64_t all = UINT64_MAX;
  rivulet::Must(cudaDeviceGetDefaultMemPool(&pool, 0));
  rivulet::Must(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all));
  const int directions = argc > 3 ? std::atoi(argv[3]) : 4096;
  rivulet::Passes(argc > 1 ? std::atoll(argv[1]) : 536870912, argc > 2 ? std::atoi(argv[2]) : 7);
  rivulet::Passes(1 << 22,
                  argc > 2 ? std::atoi(argv[2]) : 7);  // a matrix of a 1 B model: in the cache
  rivulet::Replays(2048, 5632, directions);
  rivulet::Replays(8192, 8192, directions);
}
