#include "client/agent/policy.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

// A policy of any content is refused or has limits in range and names for its data. Base models are
// looked for beside a file that does not exist.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto policy =
      ParsePolicy({reinterpret_cast<const char*>(data), size}, "/nonexistent/policy.toml");
  if (!policy.ok()) return 0;
  constexpr int kMost = 1'000'000'000;
  Require(policy->max_steps >= 0 && policy->max_steps <= kMost);
  Require(policy->min_clients >= 0 && policy->min_clients <= kMost);
  Require(policy->max_seq_length >= 0 && policy->max_seq_length <= kMost);
  Require(policy->max_releases_in_all >= 0 && policy->max_releases_in_all <= kMost);
  Require(policy->masking.gamma_min_ppm <= 500'000 && policy->masking.b_max <= 62);
  Require(policy->masking.n_min >= 3 && policy->masking.attempts_max <= 8);
  Require(policy->noise_multiplier_min >= 0);
  for (const auto& [name, path] : policy->datasets) Require(!name.empty() && !path.empty());
  Require(!policy->Check(JobDocument()).ok());
  return 0;
}
