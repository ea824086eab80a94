#pragma once

#include <cstdint>
#include <vector>

#include "common/formats/model_config.h"
#include "peft/model/ops.h"

namespace rivulet {

// Rotary frequencies of a model for sequences of `length` tokens, [head_dim / 2], computed in
// double, and the factor on cosine and sine. Rules: docs/formats/model.md, rope types
// default, linear, dynamic, llama3 and yarn (the configuration reader refuses others).
struct RotaryFrequencies {
  std::vector<double> inverse;
  double attention_factor = 1;
};
RotaryFrequencies RotaryFrequenciesOf(const ModelConfig& config, int64_t length);

// Cosine and sine of positions first .. first + length - 1. `total` is the length of the whole
// sequence, which the dynamic rule asks for.
RotaryTable RotaryTableOf(const ModelConfig& config, int64_t first, int64_t length, int64_t total);

}  // namespace rivulet
