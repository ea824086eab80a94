#include "privacy/dp/central_run.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <string>
#include <thread>

#include "privacy/dp/banded.h"
#include "privacy/dp/calibration.h"
#include "privacy/dp/mechanism.h"
#include "privacy/dp/tree.h"

namespace rivulet {
namespace {

constexpr int64_t kMostRounds = 1'000'000;

BandedNoise BandedOf(const CentralRun& run) {
  return {run.noise_multiplier, run.clip_norm,   run.values, static_cast<int>(run.separation),
          run.Participations(), run.contribution};
}

int64_t CeilOf(int64_t count, int64_t size) { return (count + size - 1) / size; }

absl::Status CheckRun(const CentralRun& run) {
  const bool fits = run.rounds >= 1 && run.rounds <= kMostRounds && run.separation >= 1 &&
                    run.separation <= kMostRounds && run.restart >= 0;
  if (fits) return absl::OkStatus();
  return Refuse(absl::StatusCode::kInvalidArgument,
                "noise of a run: got " + std::to_string(run.rounds) + " rounds, separation " +
                    std::to_string(run.separation) + ", restart " + std::to_string(run.restart) +
                    ", want 1..10^6, 1..10^6, 0 or more");
}

// The last of the rounds' noise, of the coordinates of one block: out[i] += it. The rounds before
// shape it, so each is made in its turn.
absl::Status AddBandedBlock(const BandedNoise& noise, std::span<const NoiseSeed> seeds,
                            int64_t first, std::span<int64_t> out) {
  const auto kept = static_cast<size_t>(noise.bands);
  std::vector<std::vector<int64_t>> waves(kept, std::vector<int64_t>(out.size()));
  std::vector<std::span<const int64_t>> before;
  for (size_t round = 0; round < seeds.size(); ++round) {
    before.clear();
    for (size_t back = 1; back < kept && back <= round; ++back) {
      before.push_back(waves[(round - back) % kept]);
    }
    RV_RETURN_IF_ERROR(MakeBandedNoise(noise, seeds[round], first, before, waves[round % kept]));
  }
  const std::vector<int64_t>& last = waves[(seeds.size() - 1) % kept];
  for (size_t at = 0; at < out.size(); ++at) {
    if (!__builtin_add_overflow(out[at], last[at], &out[at])) continue;
    return Refuse(absl::StatusCode::kOutOfRange, "noise: got a sum beyond 64 bits, want less");
  }
  return absl::OkStatus();
}

absl::Status AddBanded(const BandedNoise& noise, const NoiseSeed& seed, int64_t round,
                       std::span<int64_t> sum) {
  std::vector<NoiseSeed> seeds;
  for (int64_t each = 1; each <= round; ++each) {
    seeds.push_back(seed.Derive("round/" + std::to_string(each)));
  }
  const int64_t blocks = CeilOf(static_cast<int64_t>(sum.size()), kNoiseBlock);
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  absl::Status failed;
  const auto work = [&] {
    for (int64_t block = next++; block < blocks; block = next++) {
      const auto first = static_cast<size_t>(block * kNoiseBlock);
      const size_t size = std::min(sum.size() - first, static_cast<size_t>(kNoiseBlock));
      const absl::Status done =
          AddBandedBlock(noise, seeds, block * kNoiseBlock, sum.subspan(first, size));
      if (done.ok()) continue;
      const std::lock_guard lock(mutex);
      failed = done;
    }
  };
  const auto helpers = std::min<int64_t>(blocks - 1, std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  for (int64_t each = 0; each < helpers; ++each) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  return failed;
}

}  // namespace

int64_t CentralRun::TreeRounds() const {
  return correlation == Correlation::kTree && restart > 0 ? std::min(restart, rounds) : rounds;
}

int64_t CentralRun::Participations() const { return CeilOf(TreeRounds(), separation); }

double CentralRun::Sensitivity() const {
  if (correlation == Correlation::kBanded) return BandedOf(*this).Sensitivity();
  if (contribution > 0) return contribution;
  return CentralNoise{noise_multiplier, clip_norm, values}.Sensitivity();
}

absl::StatusOr<uint64_t> CentralRun::Variance() const {
  RV_RETURN_IF_ERROR(CheckRun(*this));
  if (correlation == Correlation::kBanded) return BandedOf(*this).Variance();
  // A contribution that is given in grid steps has no clip norm to be checked.
  const double clip = contribution > 0 ? 0x1p-24 : clip_norm;
  RV_RETURN_IF_ERROR((CentralNoise{noise_multiplier, clip, values}.Variance().status()));
  const double stddev = noise_multiplier * Sensitivity();
  return VarianceAbove(stddev * stddev);
}

absl::Status CentralRun::AddTo(const NoiseSeed& seed, int64_t round, std::span<int64_t> sum) const {
  RV_ASSIGN_OR_RETURN(const uint64_t variance, Variance());
  if (round < 1 || round > rounds || static_cast<int64_t>(sum.size()) != values) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "noise of a run: got round " + std::to_string(round) + " and " +
                      std::to_string(sum.size()) + " values, want 1.." + std::to_string(rounds) +
                      " and " + std::to_string(values));
  }
  if (correlation == Correlation::kNone) return AddCentralNoise(seed, variance, 0, sum);
  if (correlation == Correlation::kBanded) return AddBanded(BandedOf(*this), seed, round, sum);
  const NoiseSeed own = seed.Derive("restart/" + std::to_string((round - 1) / TreeRounds()));
  RV_ASSIGN_OR_RETURN(const TreeNoise tree, TreeNoise::Make(own, variance));
  return tree.AddToRound((round - 1) % TreeRounds() + 1, 0, sum);
}

std::vector<PrivacyEvent> CentralRun::Events() const {
  const NoiseMultiplier<ZeroOut> z{noise_multiplier};
  switch (correlation) {
    case Correlation::kNone:
      return {GaussianEvent(z, rounds)};
    case Correlation::kBanded:
      return {BandedEvent(z)};
    case Correlation::kTree:
      break;
  }
  // TreeEvent counts the rounds strictly between two participations.
  const TreeEvent tree(z, TreeRounds(), Participations(), separation - 1);
  return std::vector<PrivacyEvent>(CeilOf(rounds, TreeRounds()), tree);
}

absl::StatusOr<double> CalibrateRun(const CentralRun& run, double epsilon, double delta) {
  RV_RETURN_IF_ERROR(CheckRun(run));
  // Every kind is a Gaussian mechanism: z over the whole run's sensitivity is calibrated, in units
  // of one contribution's.
  double square = 1;
  if (run.correlation == CentralRun::Correlation::kNone) {
    square = static_cast<double>(run.rounds);
  } else if (run.correlation == CentralRun::Correlation::kTree) {
    RV_ASSIGN_OR_RETURN(
        square, TreeSensitivitySquared(run.TreeRounds(), run.Participations(), run.separation - 1));
    square *= static_cast<double>(CeilOf(run.rounds, run.TreeRounds()));
  }
  RV_ASSIGN_OR_RETURN(const CalibratedNoise once, CalibrateNoise({epsilon, delta, 1, 1}));
  // One unit in the last place up: z / sqrt(square) must not round below what was verified.
  return std::nextafter(once.sigma * std::sqrt(square), HUGE_VAL) * (1 + 1e-12);
}

}  // namespace rivulet
