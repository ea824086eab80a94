#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/formats/model_config.h"
#include "common/job/job_spec.h"

// A soft prompt (Lester et al. 2021, HF PEFT's prompt tuning): vectors that stand before the token
// embeddings of every sequence. They take positions, are seen by every token, and carry no loss.

namespace rivulet {

inline constexpr char kPromptKey[] = "prompt_embeddings";  // PEFT's; [tokens, hidden]
inline constexpr char kSubspaceKey[] = "prompt_subspace";  // [subspace]; no export has it

struct SoftPrompt {
  int64_t tokens = 0;
  int64_t hidden = 0;
  int64_t subspace = 0;       // numbers trained in place of the prompt; 0 = the prompt itself
  std::string embedding;      // the base model's tensor that it starts from; empty = normal numbers
  std::vector<int64_t> rows;  // of that tensor, one a virtual token
};

// What [prompt] asks for on this model. Rows are drawn, with repetition, from RandomStream(seed,
// kInitialValues, 1). Errors: InvalidArgument when no position is left for a token, or the subspace
// has more numbers than the prompt; ResourceExhausted for a projection of more than 2^28 numbers.
absl::StatusOr<SoftPrompt> SoftPromptOf(const ModelConfig& config, const JobSpec& job);

// The matrix A [start.size(), subspace] of the prompt start + A z: independent N(0, s^2 / subspace)
// from RandomStream(seed, kInitialValues, 2), element i * subspace + k for row i and column k; s is
// the root mean square of `start`. So z ~ N(0, I) moves every number of the prompt by about s, and
// z is in units of what it moves.
// Source: Sun et al. 2022 (BBT: random projection), Sun et al. 2022b (BBTv2: normal entries at the
// scale of the embeddings).
std::vector<float> PromptProjection(uint64_t seed, std::span<const float> start, int64_t subspace);

// prompt += A z, `prompt` being the start. Sums are added in double, in order, and rounded once.
void MoveInSubspace(uint64_t seed, std::span<const float> z, std::span<float> prompt);

// Tokens that an example may have: the model's longest sequence without the job's virtual tokens.
int64_t LongestExample(const ModelConfig& config, const JobSpec& job);

}  // namespace rivulet
