// Exact noise beside the keystream it is made of, and what the accountant costs a round, in one
// run, on one thread. Prints JSON lines. Not a test.
//   accountant_bench [samples=1000000] [rounds=100000] [repeats=5]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "privacy/dp/accountant.h"
#include "privacy/dp/noise_seed.h"
#include "privacy/dp/rounding.h"
#include "privacy/dp/sampler.h"

namespace rivulet {
namespace {

// Processor time of this thread: on a shared machine, waiting for a turn is not counted.
double Seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
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

NoiseSeed BenchSeed() { return *NoiseSeed::FromStored(std::string(32, 's')); }

// Words a second, read one by one.
double WordRate(int64_t count, int repeats) {
  volatile uint64_t sink = 0;
  const double seconds = Best(repeats, [&] {
    AesWords words = BenchSeed().Words("bench");
    uint64_t sum = 0;
    for (int64_t word = 0; word < count; ++word) sum += words.Next();
    sink = sink + sum;
  });
  return static_cast<double>(count) / seconds;
}

// `draw` makes one value from the stream; the limit is the stream alone, word for word.
template <typename Draw>
void BenchSampler(const char* what, double variance, int64_t count, int repeats, double word_rate,
                  Draw&& draw) {
  volatile int64_t sink = 0;
  uint64_t used = 0;
  const double seconds = Best(repeats, [&] {
    AesWords words = BenchSeed().Words("bench");
    int64_t sum = 0;
    for (int64_t sample = 0; sample < count; ++sample) sum += draw(words);
    sink = sink + sum;
    used = words.consumed();
  });
  const double per_sample = static_cast<double>(used) / static_cast<double>(count);
  const double rate = static_cast<double>(count) / seconds, limit = word_rate / per_sample;
  std::printf(
      "{\"bench\":\"%s\",\"variance\":%.6g,\"words_per_sample\":%.2f,\"million_per_s\":%.3f,"
      "\"keystream_limit_million_per_s\":%.2f,\"ratio\":%.3f}\n",
      what, variance, per_sample, rate / 1e6, limit / 1e6, rate / limit);
}

void BenchSamplers(int64_t count, int repeats) {
  const double word_rate = WordRate(16 * count, repeats);
  std::printf("{\"bench\":\"aes_256_ctr_words\",\"million_per_s\":%.1f,\"gb_per_s\":%.2f}\n",
              word_rate / 1e6, word_rate * 8 / 1e9);
  for (const uint64_t variance : {uint64_t{100}, uint64_t{1} << 28, uint64_t{1} << 48}) {
    const DiscreteGaussian gaussian = *DiscreteGaussian::Make(variance);
    BenchSampler("discrete_gaussian", static_cast<double>(variance), count, repeats, word_rate,
                 [&](WordSource& words) { return gaussian.Draw(words); });
  }
  const uint64_t variance = uint64_t{1} << 28;
  BenchSampler("skellam", static_cast<double>(variance), count / 10, repeats, word_rate,
               [&](WordSource& words) { return *DrawSkellam(words, variance); });
}

void BenchRounding(int64_t count, int repeats) {
  std::vector<float> values(static_cast<size_t>(count), 0.3f);
  std::vector<int64_t> out(values.size());
  const double seconds = Best(repeats, [&] {
    AesWords words = BenchSeed().Words("bench");
    if (!RoundStochastically(values, 100, words, out).ok()) std::abort();
  });
  std::printf("{\"bench\":\"stochastic_rounding\",\"million_per_s\":%.1f}\n",
              static_cast<double>(count) / seconds / 1e6);
}

// Every round composed by itself, then epsilon of all: the first answer builds the distribution of
// one release, later ones of the same run find it.
void BenchAccountant(double q, double sigma, int64_t rounds) {
  Accountant accountant(PrivacyUnit::kClient);
  double start = Seconds();
  for (int64_t round = 0; round < rounds; ++round) {
    if (!accountant.Compose(PoissonGaussianEvent(q, {sigma}, 1)).ok()) std::abort();
  }
  const double compose = Seconds() - start;
  start = Seconds();
  const auto first = accountant.EpsilonAt(1e-6);
  const double cold = Seconds() - start;
  start = Seconds();
  const auto again = accountant.EpsilonAt(1e-6);
  const double warm = Seconds() - start;
  if (!first.ok() || !again.ok()) std::abort();
  std::printf(
      "{\"bench\":\"accountant\",\"q\":%g,\"sigma\":%g,\"rounds\":%lld,\"eps_pld\":%.6f,\"eps_"
      "rdp\":"
      "%.6f,\"compose_s\":%.4f,\"first_epsilon_s\":%.3f,\"next_epsilon_s\":%.3f}\n",
      q, sigma, static_cast<long long>(rounds), first->pld, first->rdp, compose, cold, warm);
}

int64_t Argument(int count, char** arguments, int position, int64_t absent) {
  return count > position ? std::max(1ll, std::atoll(arguments[position])) : absent;
}

}  // namespace
}  // namespace rivulet

int main(int count, char** arguments) {
  using namespace rivulet;
  const int64_t samples = Argument(count, arguments, 1, 1'000'000);
  const int64_t rounds = Argument(count, arguments, 2, 100'000);
  const int repeats = static_cast<int>(Argument(count, arguments, 3, 5));
  BenchSamplers(samples, repeats);
  BenchRounding(samples, repeats);
  BenchAccountant(0.01, 1, rounds);
  BenchAccountant(0.001, 0.8, rounds);
  BenchAccountant(1, 50, rounds);
}
