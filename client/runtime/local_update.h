#pragma once

#include <cstdint>
#include <string>

#include "client/upload/update_encoder.h"

namespace rivulet {

// What goes up after training.
struct LocalUpdate {
  std::string file;  // safetensors of the F32 delta, exactly the job's manifest
  int64_t examples = 0;
  int64_t tokens = 0;
  int64_t steps = 0;
  double loss = 0;
  double grad_norm = 0;
  UpdateEncoder::MaskedExtras masked;  // of a job under masks
};

}  // namespace rivulet
