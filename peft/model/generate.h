#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "peft/model/generate_options.h"
#include "peft/model/network.h"

namespace rivulet {

// One draw from logits [n]. `unit` is uniform in [0, 1). Equal logits keep their order of ids.
int32_t Sample(std::span<const float> logits, const GenerateOptions& options, double unit);

// The tokens that follow `prompt` (not empty), at most up to the model's longest sequence, in which
// prompt and virtual tokens must fit.
// Throws libtorch's exceptions.
std::vector<int32_t> GenerateTokens(const Network& network, const Adaptation& adaptation,
                                    std::span<const int32_t> prompt, const GenerateOptions& options,
                                    Pass& pass);

}  // namespace rivulet
