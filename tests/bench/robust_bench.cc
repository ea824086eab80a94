// The robust rules beside reading the same bytes from memory with as many threads, in one run.
// Prints JSON lines; GB/s are of input, the best of the repeats; processor time for one thread (on
// a shared machine, waiting for a turn is not counted), wall time for several. Not a test.
//   robust_bench [values=2097152] [repeats=7] [threads=0 (one a core)]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <thread>
#include <vector>

#include "aggregation/parallel.h"
#include "aggregation/robust/rule.h"
#include "common/random.h"

namespace rivulet {
namespace {

double SecondsFor(size_t threads) {
  if (threads > 1) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Every word once, with as many sums as hide the latency of an addition.
uint64_t ReadWords(const uint64_t* words, size_t count) {
  uint64_t sums[32] = {};
  for (size_t at = 0; at + 32 <= count; at += 32) {
    for (size_t lane = 0; lane < 32; ++lane) sums[lane] += words[at + lane];
  }
  uint64_t sum = 0;
  for (const uint64_t lane : sums) sum += lane;
  return sum;
}

uint64_t ReadAll(const std::vector<ParameterSet>& updates, size_t threads) {
  std::atomic<uint64_t> total = 0;
  const size_t words = updates[0].bytes(0).size() / 8;
  ParallelRanges(words, (words + threads - 1) / threads, [&](size_t begin, size_t end) {
    uint64_t sum = 0;
    for (const ParameterSet& update : updates) {
      sum +=
          ReadWords(reinterpret_cast<const uint64_t*>(update.bytes(0).data()) + begin, end - begin);
    }
    total += sum;
  });
  return total;
}

template <typename Work>
void KeepBest(double& best, size_t threads, Work&& work) {
  const double start = SecondsFor(threads);
  work();
  best = std::min(best, SecondsFor(threads) - start);
}

std::vector<ParameterSet> MakeUpdates(const Manifest& manifest, size_t count) {
  std::vector<ParameterSet> updates;
  for (size_t client = 0; client < count; ++client) {
    updates.emplace_back(manifest);
    RandomStream(client, Purpose::kSketch, 0).FillUniform(0, updates.back().floats(0));
  }
  return updates;
}

RobustSettings BenchSettings(const char* rule) {
  RobustSettings settings{.rule = rule, .f = 3};
  if (settings.rule == "mean") settings.f = 0;
  if (settings.rule == "centred-clipping") settings.tau = 100;
  return settings;
}

void Run(int64_t values, size_t n, int repeats, size_t threads) {
  const Manifest manifest = {{"delta", DType::kF32, {values}}};
  const std::vector<ParameterSet> updates = MakeUpdates(manifest, n);
  std::vector<UpdateView> views;
  for (const ParameterSet& update : updates) views.push_back(ViewOf(update));
  const double bytes = 4.0 * static_cast<double>(values) * static_cast<double>(n);
  volatile uint64_t sink = 0;
  for (const char* name : {"mean", "median", "trimmed-mean", "krum", "geometric-median",
                           "centred-clipping", "bulyan"}) {
    const auto rule = *MakeRobustRule(BenchSettings(name));
    double read = 1e30, ours = 1e30;
    for (int repeat = 0; repeat < repeats; ++repeat) {  // side by side: the machine is shared
      KeepBest(read, threads, [&] { sink = sink + ReadAll(updates, threads); });
      KeepBest(ours, threads, [&] {
        const auto result =
            rule->Aggregate(views, {.manifest = &manifest, .threads = static_cast<int>(threads)});
        if (!result.ok()) std::abort();
      });
    }
    std::printf(
        "{\"bench\":\"%s\",\"n\":%zu,\"values\":%lld,\"threads\":%zu,\"gb_per_s\":%.2f,"
        "\"dram_read_gb_per_s\":%.2f,\"ratio\":%.2f}\n",
        name, n, static_cast<long long>(values), threads, bytes / ours / 1e9, bytes / read / 1e9,
        read / ours);
    std::fflush(stdout);
  }
}

int64_t Argument(int count, char** arguments, int position, int64_t absent) {
  return count > position ? std::max(1ll, std::atoll(arguments[position])) : absent;
}

}  // namespace
}  // namespace rivulet

int main(int count, char** arguments) {
  const auto cores = static_cast<int64_t>(std::max(1u, std::thread::hardware_concurrency()));
  const int64_t values = rivulet::Argument(count, arguments, 1, 2 << 20);
  const auto repeats = static_cast<int>(rivulet::Argument(count, arguments, 2, 7));
  const auto threads = static_cast<size_t>(rivulet::Argument(count, arguments, 3, cores));
  for (const size_t n : {16, 32}) rivulet::Run(values, n, repeats, threads);
}
