#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/job/job_spec.h"
#include "common/tensor/parameter_set.h"
#include "peft/model/generate_options.h"

namespace rivulet {

class BaseModel;

// Text from a base model and a trained state. Thread safe.
class TextGenerator {
 public:
  // Errors: InvalidArgument when `state` is not what the job trains, or the model has no
  // language-model head.
  static absl::StatusOr<std::unique_ptr<TextGenerator>> Make(std::shared_ptr<const BaseModel> base,
                                                             const JobSpec& job,
                                                             const ParameterSet& state);
  // The base model alone.
  static absl::StatusOr<std::unique_ptr<TextGenerator>> Make(std::shared_ptr<const BaseModel> base);

  virtual ~TextGenerator() = default;
  // The tokens that follow `prompt`, without stop tokens. Equal seeds give equal texts. Errors:
  // InvalidArgument for an empty or overlong prompt or an id outside the vocabulary.
  virtual absl::StatusOr<std::vector<int32_t>> Generate(std::span<const int32_t> prompt,
                                                        const GenerateOptions& options) const = 0;
};

}  // namespace rivulet
