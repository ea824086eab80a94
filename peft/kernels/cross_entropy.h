#pragma once

#include <cstdint>

#include "peft/kernels/workspace.h"

namespace rivulet::kernels {

struct CrossEntropySums {
  double loss = 0;  // nats
  int64_t correct = 0;
};

// The output matrix [classes, width]: fp32, or bf16 where `narrow` is set (see kernels::Product).
struct ClassMatrix {
  const float* full = nullptr;
  const uint16_t* narrow = nullptr;
};

// Cross-entropy of rows against classes, through the output matrix, in chunks of rows: neither
// logits nor their gradient ever exist for all rows.
//   hidden    [rows, width], fp32
//   targets   [rows], each in 0 .. classes-1 (checked by the caller)
//   d_hidden  [rows, width] or null: `scale` times the gradient of the sum of losses
//   d_weight  [classes, width] or null: the same for the matrix, added to what is there
//   losses    [rows] or null: nats of each row
// Equal calls give equal bits, however many threads the workspace has.
CrossEntropySums CrossEntropy(const float* hidden, const ClassMatrix& weight,
                              const int32_t* targets, int64_t rows, int64_t width, int64_t classes,
                              float scale, float* d_hidden, float* d_weight, Workspace& workspace,
                              double* losses = nullptr);

}  // namespace rivulet::kernels
