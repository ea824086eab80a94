#include <gtest/gtest.h>

#include <cmath>

#include "privacy/dp/noise_seed.h"
#include "privacy/dp/sampler.h"
#include "tests/unit/privacy/dp/chi_square.h"

namespace rivulet {
namespace {

AesWords PoissonStream(char byte) {
  return NoiseSeed::FromStored(std::string(32, byte))->Words("Poisson test");
}

// P(k) for first <= k <= last, the rest in the end cells.
std::vector<double> PoissonCells(double mean, int64_t first, int64_t last) {
  std::vector<double> cells(static_cast<size_t>(last - first + 1), 0.0);
  const auto far = static_cast<int64_t>(mean + 20 * std::sqrt(mean) + 40);
  for (int64_t k = 0; k <= far; ++k) {
    const auto x = static_cast<double>(k);
    const double p = std::exp(x * std::log(mean) - mean - std::lgamma(x + 1));
    cells[static_cast<size_t>(std::clamp(k, first, last) - first)] += p;
  }
  return cells;
}

class PoissonLaw : public testing::TestWithParam<uint64_t> {};

// False alarm 1e-4 each.
TEST_P(PoissonLaw, Holds) {
  const uint64_t mean = GetParam();
  const auto centre = static_cast<double>(mean);
  const auto first = static_cast<int64_t>(std::max(0.0, centre - 6 * std::sqrt(centre) - 1));
  const auto last = static_cast<int64_t>(centre + 6 * std::sqrt(centre) + 8);
  ChiSquare chi(PoissonCells(centre, first, last));
  AesWords words = PoissonStream('p');
  const int draws = mean > 100 && mean < 4096 ? 4'000 : 200'000;
  for (int draw = 0; draw < draws; ++draw) {
    const auto k = static_cast<int64_t>(*DrawPoisson(words, mean));
    chi.Count(static_cast<size_t>(std::clamp(k, first, last) - first));
  }
  EXPECT_LT(chi.Deviate(), 3.72);
}
INSTANTIATE_TEST_SUITE_P(Means, PoissonLaw, testing::Values(1, 5, 400, 4096, 10'007, 1'000'000),
                         [](const auto& mean) { return std::to_string(mean.param); });

// Standard deviation 2^13, compared with equal slices of the normal law, from which a Poisson of
// this mean differs by less than 1e-5 a slice: invisible in 2 10^5 draws of the difference, whose
// skewness is 0. False alarm 1e-4.
TEST(Skellam, AWideOneIsNormal) {
  const uint64_t variance = uint64_t{1} << 26;
  AesWords words = PoissonStream('s');
  constexpr size_t kSlices = 100;
  ChiSquare chi(std::vector<double>(kSlices, 1.0 / kSlices));
  for (int draw = 0; draw < 200'000; ++draw) {
    const double z = (static_cast<double>(*DrawSkellam(words, variance))) / 0x1p13;
    const double slice = 0.5 * std::erfc(-z * M_SQRT1_2) * kSlices;
    chi.Count(std::min(kSlices - 1, static_cast<size_t>(slice)));
  }
  EXPECT_LT(chi.Deviate(), 3.72);
}

TEST(Skellam, OddAndHugeVariancesAreRefused) {
  AesWords words = PoissonStream('r');
  EXPECT_EQ(DrawSkellam(words, 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DrawSkellam(words, 3).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DrawSkellam(words, uint64_t{1} << 46).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(Poisson, TheLargestMeanIsDrawn) {
  AesWords words = PoissonStream('t');
  double squares = 0;
  for (int draw = 0; draw < 2'000; ++draw) {
    const auto k = static_cast<double>(*DrawPoisson(words, kMostPoissonMean));
    squares += std::pow((k - 0x1p44) / 0x1p22, 2);
  }
  EXPECT_NEAR(squares / 2'000, 1, 0.16);  // five standard deviations
}

}  // namespace
}  // namespace rivulet
