// Directions of backprop-free tuning beside a pass over the same memory without them, in one run,
// on one thread. `limit` of a perturbation is w += s, of one into a copy out = w + s, of a dot
// product a sum, each over the same buffers. Prints JSON lines. Not a test.
//   direction_bench [values=67108864] [repeats=5]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "common/direction/directions.h"

namespace rivulet {
namespace {

// Processor time of this thread: on a shared machine, waiting for a turn is not counted.
double Seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Kind {
  const char* name;
  DirectionSettings settings;
};
constexpr Kind kKinds[] = {{"rademacher", {DirectionKind::kRademacher}},
                           {"gauss", {DirectionKind::kGauss}},
                           {"rank 1", {DirectionKind::kLowRank, 1}},
                           {"rank 4", {DirectionKind::kLowRank, 4}},
                           {"subspace 4", {DirectionKind::kSubspace, 4, 50}},
                           {"flipped", {DirectionKind::kFlipped, 1, 50}}};

// Best of `repeats`, the work and its limit in turn.
template <typename Work, typename Limit>
void Measure(const std::string& what, double values, int repeats, Work&& work, Limit&& limit) {
  double best = 1e30, least = 1e30;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const double start = Seconds();
    work();
    const double middle = Seconds();
    limit();
    best = std::min(best, middle - start);
    least = std::min(least, Seconds() - middle);
  }
  std::printf(
      "{\"bench\":\"%s\",\"values\":%.0f,\"gelem_per_s\":%.2f,\"limit_gelem_per_s\":%.2f,"
      "\"ratio\":%.3f}\n",
      what.c_str(), values, values / best / 1e9, values / least / 1e9, least / best);
  std::fflush(stdout);
}

void AddEverywhere(float step, const float* from, float* to, size_t n) {
  for (size_t i = 0; i < n; ++i) to[i] = from[i] + step;
}
void AddEverywhere(uint16_t step, uint16_t* to, size_t n) {
  for (size_t i = 0; i < n; ++i) to[i] = static_cast<uint16_t>(to[i] + step);
}
float SumOf(const std::vector<float>& values) {
  float sums[64] = {};
  for (size_t i = 0; i + 64 <= values.size(); i += 64) {
    for (size_t lane = 0; lane < 64; ++lane) sums[lane] += values[i + lane];
  }
  float sum = 0;
  for (float lane : sums) sum += lane;
  return sum;
}

void Run(int64_t values, int repeats) {
  const int64_t columns = 4096, rows = std::max<int64_t>(1, values / columns);
  const TensorPart part{0, rows, columns};
  const size_t n = static_cast<size_t>(part.elements());
  std::vector<float> w(n, 0.02f), out(n);
  std::vector<uint16_t> half(n, 0x3CA4);
  volatile double sink = 0;
  for (const Kind& kind : kKinds) {
    const auto z = MakeDirection(kind.settings, 1, 0);
    const std::string name = kind.name;
    const double count = static_cast<double>(n);
    Measure(
        name + ", f32 in place", count, repeats, [&] { AddDirection(*z, part, 1e-3f, w); },
        [&] { AddEverywhere(1e-3f, w.data(), w.data(), n); });
    Measure(
        name + ", f32 into a copy", count, repeats, [&] { AddDirection(*z, part, 1e-3f, w, out); },
        [&] { AddEverywhere(1e-3f, w.data(), out.data(), n); });
    Measure(
        name + ", bf16 in place", count, repeats,
        [&] { AddDirection(*z, part, 1e-3f, std::span(half)); },
        [&] { AddEverywhere(1, half.data(), n); });
    Measure(
        name + ", dot", count, repeats, [&] { sink = sink + DotDirection(*z, part, w); },
        [&] { sink = sink + SumOf(w); });
  }
}

// A client that was away: 4,096 directions of one matrix at once. `limit` draws and adds normal
// numbers element by element.
void RunReplay(int repeats) {
  const Manifest matrix = {{"w", DType::kF32, {256, 1024}}};
  std::vector<double> factors(4096);
  for (size_t j = 0; j < factors.size(); ++j)
    factors[j] = 1e-3 * (static_cast<double>(j % 7) - 3.5);
  std::vector<float> w(256 * 1024);
  const Directions gauss({DirectionKind::kGauss}, 1, matrix);
  for (const Kind& kind : kKinds) {
    const Directions directions(kind.settings, 1, matrix);
    Measure(
        std::string("replay of 4096, ") + kind.name, 4096.0 * static_cast<double>(w.size()),
        repeats, [&] { (void)directions.Replay(factors, w); },
        [&] { (void)gauss.Replay(factors, w); });
  }
}

}  // namespace
}  // namespace rivulet

int main(int argc, char** argv) {
  const int64_t values = argc > 1 ? std::atoll(argv[1]) : 67108864;
  rivulet::Run(values, argc > 2 ? std::atoi(argv[2]) : 5);
  rivulet::Run(1 << 18, argc > 2 ? std::atoi(argv[2]) : 5);  // an adapter's size: in the cache
  rivulet::RunReplay(argc > 2 ? std::atoi(argv[2]) : 1);
}
