// The exact weighted sum of a round beside reading the same bytes from memory, in one run, on one
// thread. Prints JSON lines. Not a test.
//   aggregation_bench [values=4194304] [updates=8] [repeats=7]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "aggregation/fixed_point_sum.h"
#include "common/random.h"

namespace rivulet {
namespace {

// Processor time of this thread: on a shared machine, waiting for a turn is not counted.
double Seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Reads every word once, with as many sums as hide the latency of an addition.
uint64_t ReadAll(const std::vector<ParameterSet>& updates) {
  uint64_t sums[32] = {};
  for (const ParameterSet& update : updates) {
    const std::span<const std::byte> bytes = update.bytes(0);
    const auto* words = reinterpret_cast<const uint64_t*>(bytes.data());
    for (size_t at = 0; at + 32 <= bytes.size() / 8; at += 32) {
      for (size_t lane = 0; lane < 32; ++lane) sums[lane] += words[at + lane];
    }
  }
  uint64_t sum = 0;
  for (const uint64_t lane : sums) sum += lane;
  return sum;
}

template <typename Work>
double Best(int repeats, Work&& work) {
  double best = 1e30;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const double start = Seconds();
    work();
    best = std::min(best, Seconds() - start);
  }
  return best;
}

std::vector<ParameterSet> MakeUpdates(const Manifest& manifest, int count) {
  std::vector<ParameterSet> updates;
  for (int client = 0; client < count; ++client) {
    updates.emplace_back(manifest);
    RandomStream(static_cast<uint64_t>(client), Purpose::kSketch, 0)
        .FillUniform(0, updates.back().floats(0));
    for (float& value : updates.back().floats(0)) value *= 0.01f;
  }
  return updates;
}

void Print(const char* what, int64_t weight, double bytes, double seconds, double limit_seconds) {
  std::printf(
      "{\"bench\":\"%s\",\"weight\":%lld,\"gb_per_s\":%.2f,\"dram_read_gb_per_s\":%.2f,\"ratio\":%."
      "2f}"
      "\n",
      what, static_cast<long long>(weight), bytes / seconds / 1e9, bytes / limit_seconds / 1e9,
      limit_seconds / seconds);
}

// As the coordinator closes a round: stretches of 256 KiB of `together` updates at a time.
double SecondsOfRound(const std::vector<ParameterSet>& updates, int64_t weight, size_t together) {
  constexpr size_t kPiece = 65536;
  FixedPointSum sum = *FixedPointSum::Make(updates[0].manifest());
  const size_t size = updates[0].floats(0).size();
  const double start = Seconds();
  for (size_t group = 0; group < updates.size(); group += together) {
    const auto members =
        std::span(updates).subspan(group, std::min(together, updates.size() - group));
    for (size_t member = 0; member < members.size(); ++member) {
      if (!sum.AddWeight(weight).ok()) std::abort();
    }
    for (size_t first = 0; first < size; first += kPiece) {
      std::vector<WeightedPiece> pieces;
      for (const ParameterSet& update : members) {
        pieces.push_back({update.floats(0).subspan(first, std::min(kPiece, size - first)), weight});
      }
      if (!sum.AddPieces(0, first, pieces).ok()) std::abort();
    }
  }
  return Seconds() - start;
}

void Run(int64_t values, int count, int repeats) {
  const Manifest manifest = {{"delta", DType::kF32, {values}}};
  const std::vector<ParameterSet> updates = MakeUpdates(manifest, count);
  const double bytes = 4.0 * static_cast<double>(values) * count;
  volatile uint64_t sink = 0;
  const double read = Best(repeats, [&] { sink = sink + ReadAll(updates); });
  for (const int64_t weight : {int64_t{1} << 20, int64_t{1} << 21, int64_t{1} << 27}) {
    double at_once = 1e30, one_by_one = 1e30;
    for (int repeat = 0; repeat < repeats; ++repeat) {
      at_once = std::min(at_once, SecondsOfRound(updates, weight, FixedPointSum::kTogether));
      one_by_one = std::min(one_by_one, SecondsOfRound(updates, weight, 1));
    }
    Print("weighted_sum_of_a_round", weight, bytes, at_once, read);
    Print("weighted_sum_one_update_at_a_time", weight, bytes, one_by_one, read);
  }
}

int64_t Argument(int count, char** arguments, int position, int64_t absent) {
  return count > position ? std::max(1ll, std::atoll(arguments[position])) : absent;
}

}  // namespace
}  // namespace rivulet

int main(int count, char** arguments) {
  rivulet::Run(rivulet::Argument(count, arguments, 1, 4 << 20),
               static_cast<int>(rivulet::Argument(count, arguments, 2, 8)),
               static_cast<int>(rivulet::Argument(count, arguments, 3, 7)));
}
