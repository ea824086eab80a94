#include "common/formats/soft_prompt.h"

#include <cmath>

#include "common/formats/malformed.h"
#include "common/random.h"

namespace rivulet {
namespace {

// Indices of the job's stream kInitialValues; 0 is that of trained tensors.
constexpr uint64_t kRowsIndex = 1, kProjectionIndex = 2;

// 1 GiB in every process that trains or exports.
constexpr int64_t kMostProjected = int64_t{1} << 28;

}  // namespace

absl::StatusOr<SoftPrompt> SoftPromptOf(const ModelConfig& config, const JobSpec& job) {
  const PromptSection& section = job.prompt;
  const int64_t longest = LongestSequence(config);
  if (section.num_virtual_tokens < 1 || section.num_virtual_tokens >= longest) {
    return Malformed("prompt.num-virtual-tokens: got " +
                     std::to_string(section.num_virtual_tokens) + ", want 1.." +
                     std::to_string(longest - 1) + ": the model reads " + std::to_string(longest) +
                     " positions");
  }
  SoftPrompt prompt{section.num_virtual_tokens, config.hidden_size, section.subspace, "", {}};
  const int64_t numbers = prompt.tokens * prompt.hidden;
  if (prompt.subspace < 0 || prompt.subspace > numbers) {
    return Malformed("prompt.subspace: got " + std::to_string(prompt.subspace) + ", want 0.." +
                     std::to_string(numbers) + ", the numbers of the prompt");
  }
  if (prompt.subspace > kMostProjected / numbers) {
    return Refuse(absl::StatusCode::kResourceExhausted,
                  "prompt.subspace: got " + std::to_string(prompt.subspace) + " for a prompt of " +
                      std::to_string(numbers) + " numbers, want a product of at most " +
                      std::to_string(kMostProjected));
  }
  if (section.prompt_tuning_init == "random") return prompt;
  if (section.prompt_tuning_init != "sample-vocabulary") {
    return Malformed("prompt.prompt-tuning-init: got '" + section.prompt_tuning_init +
                     "', want sample-vocabulary or random");
  }
  prompt.embedding = config.family == ModelFamily::kBert ? "bert.embeddings.word_embeddings.weight"
                                                         : "model.embed_tokens.weight";
  RandomCursor cursor(RandomStream(job.job.seed, Purpose::kInitialValues, kRowsIndex));
  for (int64_t token = 0; token < prompt.tokens; ++token)
    prompt.rows.push_back(cursor.Bounded(static_cast<uint32_t>(config.vocab_size)));
  return prompt;
}

std::vector<float> PromptProjection(uint64_t seed, std::span<const float> start, int64_t subspace) {
  double squares = 0;
  for (float value : start) squares += double{value} * value;
  const auto columns = static_cast<size_t>(subspace);
  const auto scale = static_cast<float>(
      std::sqrt(squares / (static_cast<double>(start.size()) * static_cast<double>(subspace))));
  std::vector<float> matrix(start.size() * columns);
  RandomStream(seed, Purpose::kInitialValues, kProjectionIndex).FillGauss(0, matrix);
  for (float& value : matrix) value *= scale;
  return matrix;
}

void MoveInSubspace(uint64_t seed, std::span<const float> z, std::span<float> prompt) {
  const std::vector<float> matrix = PromptProjection(seed, prompt, static_cast<int64_t>(z.size()));
  const float* entry = matrix.data();
  for (float& value : prompt) {
    double sum = value;
    for (float coordinate : z) sum += double{*entry++} * coordinate;
    value = static_cast<float>(sum);
  }
}

int64_t LongestExample(const ModelConfig& config, const JobSpec& job) {
  return LongestSequence(config) - (job.method == "prompt" ? job.prompt.num_virtual_tokens : 0);
}

}  // namespace rivulet
