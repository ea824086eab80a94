#pragma once

#include <cstdint>
#include <string>

namespace rivulet {

// What goes up after training.
struct LocalUpdate {
  std::string file;  // safetensors of the F32 delta, exactly the job's manifest
  int64_t examples = 0;
  int64_t tokens = 0;
  int64_t steps = 0;
  double loss = 0;
  double grad_norm = 0;
};

}  // namespace rivulet
