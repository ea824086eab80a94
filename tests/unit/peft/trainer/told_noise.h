#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/random.h"
#include "peft/trainer/example_privacy.h"

namespace rivulet::testing {

// Noise that a test knows: words from a seed, and the same number added to every sum.
class ToldNoise : public GradientNoise {
 public:
  explicit ToldNoise(uint64_t seed = 1) : cursor_(RandomStream(seed, Purpose::kSampling, 0)) {}

  absl::Status Draw(std::span<uint64_t> words) override {
    if (fails) return Refuse(absl::StatusCode::kUnavailable, "noise: told to fail");
    for (uint64_t& word : words) {
      word = uint64_t{cursor_.Next()} << 32;
      word |= cursor_.Next();
    }
    return absl::OkStatus();
  }
  absl::Status Add(uint64_t variance, std::span<int64_t> sums) override {
    if (fails) return Refuse(absl::StatusCode::kUnavailable, "noise: told to fail");
    variances.push_back(variance);
    for (int64_t& sum : sums) sum += shift;
    return absl::OkStatus();
  }

  int64_t shift = 0;
  bool fails = false;
  std::vector<uint64_t> variances;  // of every call of Add

 private:
  RandomCursor cursor_;
};

}  // namespace rivulet::testing
