#include "peft/kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "peft/kernels/gemm.h"
#include "peft/kernels/matrix_unit.h"
#include "peft/kernels/softmax.h"

namespace rivulet::kernels {
namespace {

// Logits at once, 4 MiB: fewer rows would have the output matrix packed more often. To the matrix
// unit packing costs more than the product itself until the rows are hundreds.
constexpr int64_t kChunkFloats = 1024 * 1024;

int64_t ChunkRows(int64_t classes, bool by_unit) {
  if (by_unit) return std::clamp<int64_t>(4 * kChunkFloats / classes, 64, 512);
  return std::clamp<int64_t>(kChunkFloats / classes, 28, 256);
}

struct RowResult {
  double loss;
  bool correct;
};

// Turns a row of logits into its gradient in place.
RowResult Row(float* logits, int64_t classes, int32_t target, float scale, bool gradient) {
  const float at_target = logits[target];
  float peak;
  const float sum = ExpAndSum(logits, classes, 1.0f, &peak);
  if (gradient) {
    ScaleRow(logits, classes, scale / sum);
    logits[target] -= scale;
  }
  return {std::log(static_cast<double>(sum)) + (static_cast<double>(peak) - at_target),
          at_target == peak};
}

}  // namespace

CrossEntropySums CrossEntropy(const float* hidden, const ClassMatrix& weight,
                              const int32_t* targets, int64_t rows, int64_t width, int64_t classes,
                              float scale, float* d_hidden, float* d_weight, Workspace& workspace,
                              double* losses) {
  const int64_t chunk = ChunkRows(classes, weight.narrow != nullptr && HasMatrixUnit());
  const int64_t stride = (classes + 15) / 16 * 16 + 16;  // never a power of two apart: cache sets
  float* logits = workspace.scores.Resize(chunk * stride);
  CrossEntropySums sums;
  std::vector<RowResult> results(chunk);
  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t count = std::min(chunk, rows - first);
    const float* x = hidden + first * width;
    const Product forward = {{x, width, 1}, {weight.full, 1, width}, width, weight.narrow};
    Gemm({count, classes, {&forward, 1}, logits, stride}, workspace);
    Divide(workspace, count, 1, [&](int64_t begin, int64_t end, Workspace&) {
      for (int64_t i = begin; i < end; ++i) {
        results[i] =
            Row(logits + i * stride, classes, targets[first + i], scale, d_hidden || d_weight);
      }
    });
    for (int64_t i = 0; i < count; ++i) {  // in one order, whatever the threads
      sums.loss += results[i].loss;
      if (losses) losses[first + i] = results[i].loss;
      sums.correct += results[i].correct;
    }
    if (d_hidden) {
      const Product back = {{logits, stride, 1}, {weight.full, width, 1}, classes, weight.narrow};
      Gemm({count, width, {&back, 1}, d_hidden + first * width, width}, workspace);
    }
    if (d_weight) {
      Multiply(classes, width, count, {logits, 1, stride}, {x, width, 1}, d_weight, width, true,
               workspace);
    }
  }
  return sums;
}

}  // namespace rivulet::kernels
