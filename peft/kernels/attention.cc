#include "peft/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "peft/kernels/gemm.h"
#include "peft/kernels/matrix_unit.h"
#include "peft/kernels/softmax.h"

namespace rivulet::kernels {
namespace {

constexpr int64_t kQueries = 56;  // queries of a block: four tiles of the product kernel
// The matrix unit gets more, since keys and values are put into its order for every block.
constexpr int64_t kUnitQueries = 4 * kUnitRows;

// One block of queries of one head.
struct Block {
  int64_t first;  // query
  int64_t rows;
  int64_t keys;  // that any of its queries may see
};

struct Heads {
  const AttentionShape& shape;
  int64_t sequence;
  int64_t kv;

  int64_t row() const { return sequence * shape.length; }
  int64_t queries() const { return shape.may_round && HasMatrixUnit() ? kUnitQueries : kQueries; }
  Product Times(Matrix a, Matrix b, int64_t k) const { return {a, b, k, nullptr, shape.may_round}; }
  int64_t keys() const { return shape.key_counts ? shape.key_counts[sequence] : shape.length; }
  int64_t key_column() const { return (shape.heads + kv) * shape.head_dim; }
  int64_t value_column() const { return key_column() + shape.kv_heads * shape.head_dim; }
  Block BlockAt(int64_t first) const {
    const int64_t rows = std::min(queries(), shape.length - first);
    return {first, rows, shape.causal ? std::min(keys(), first + rows) : keys()};
  }
  // Keys that query `query` sees; padding queries see something, so that nothing is undefined.
  int64_t KeysOf(int64_t query) const {
    return shape.causal ? std::min(keys(), query + 1) : keys();
  }
  // What dropout makes of the first `seen` probabilities of a query, or of their gradients.
  void Drop(int64_t head, int64_t query, float* row, int64_t seen) const {
    if (!shape.dropout) return;
    const int64_t of_lane = sequence % (shape.batch / shape.lanes);
    const int64_t at = (of_lane * shape.heads + head) * shape.length + query;
    Dropout(*shape.dropout, at * shape.dropout_stride(), row, row, seen);
  }
};

// turned [head_dim, length] = transpose of a [length, head_dim] column block.
void Turn(const float* from, int64_t stride, int64_t length, int64_t head_dim, float* turned) {
  constexpr int64_t kRows = 16;  // a cache line of the result
  for (int64_t first = 0; first < length; first += kRows) {
    const int64_t last = std::min(first + kRows, length);
    for (int64_t i = 0; i < head_dim; ++i) {
      for (int64_t row = first; row < last; ++row) {
        turned[i * length + row] = from[row * stride + i];
      }
    }
  }
}

void ForwardBlock(const Heads& at, const Block& block, int64_t head, const float* qkv,
                  const float* turned_keys, float* out, float* log_sums, Workspace& workspace) {
  const AttentionShape& shape = at.shape;
  const int64_t width = shape.width(), dim = shape.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  const float* queries = qkv + (at.row() + block.first) * width + head * dim;
  const float* values = qkv + at.row() * width + at.value_column();
  float* p = workspace.scores.Resize(at.queries() * shape.length);
  Multiply(block.rows, block.keys,
           at.Times({queries, width, 1}, {turned_keys, shape.length, 1}, dim), p, block.keys, false,
           workspace);
  float inverse[kUnitQueries];
  for (int64_t i = 0; i < block.rows; ++i) {
    const int64_t seen = at.KeysOf(block.first + i);
    float* row = p + i * block.keys;
    float peak;
    const float sum = ExpAndSum(row, seen, scale, &peak);
    at.Drop(head, block.first + i, row, seen);
    std::fill(row + seen, row + block.keys, 0.0f);
    inverse[i] = 1.0f / sum;
    log_sums[block.first + i] = peak + std::log(sum);
  }
  const int64_t out_width = shape.heads * dim;
  float* to = out + (at.row() + block.first) * out_width + head * dim;
  Multiply(block.rows, dim, at.Times({p, block.keys, 1}, {values, width, 1}, block.keys), to,
           out_width, false, workspace);
  for (int64_t i = 0; i < block.rows; ++i) ScaleRow(to + i * out_width, dim, inverse[i]);
}

struct BackwardOperands {
  const float* qkv;
  const float* out;
  const float* log_sums;  // of this head
  const float* d_out;
  float* d_qkv;
  const float* turned_keys;
  const float* turned_values;
};

void BackwardBlock(const Heads& at, const Block& block, int64_t head, const BackwardOperands& with,
                   Workspace& workspace) {
  const AttentionShape& shape = at.shape;
  const int64_t width = shape.width(), dim = shape.head_dim, out_width = shape.heads * dim;
  const int64_t rows = block.rows, keys = block.keys;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  const int64_t query_at = (at.row() + block.first) * width + head * dim;
  const int64_t out_at = (at.row() + block.first) * out_width + head * dim;
  const int64_t key_at = at.row() * width + at.key_column();
  const int64_t value_at = at.row() * width + at.value_column();

  float* p = workspace.scores.Resize(at.queries() * shape.length);
  float* ds = workspace.gradients.Resize(at.queries() * shape.length);
  const Matrix queries = {with.qkv + query_at, width, 1};
  const Matrix d_out = {with.d_out + out_at, out_width, 1};
  Multiply(rows, keys, at.Times(queries, {with.turned_keys, shape.length, 1}, dim), p, keys, false,
           workspace);
  Multiply(rows, keys, at.Times(d_out, {with.turned_values, shape.length, 1}, dim), ds, keys, false,
           workspace);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t seen = at.KeysOf(block.first + i);
    float *p_row = p + i * keys, *ds_row = ds + i * keys;
    ExpShifted(p_row, seen, scale, with.log_sums[block.first + i]);
    at.Drop(head, block.first + i, ds_row, seen);
    const int64_t o = out_at + i * out_width;
    SoftmaxBackward(p_row, ds_row, seen, Dot(with.d_out + o, with.out + o, dim), scale);
    at.Drop(head, block.first + i, p_row, seen);
    std::fill(p_row + seen, p_row + keys, 0.0f);
    std::fill(ds_row + seen, ds_row + keys, 0.0f);
  }
  Multiply(rows, dim, at.Times({ds, keys, 1}, {with.qkv + key_at, width, 1}, keys),
           with.d_qkv + query_at, width, false, workspace);
  Multiply(keys, dim, at.Times({ds, 1, keys}, queries, rows), with.d_qkv + key_at, width, true,
           workspace);
  Multiply(keys, dim, at.Times({p, 1, keys}, d_out, rows), with.d_qkv + value_at, width, true,
           workspace);
}

// body(heads, workspace) for every group of heads that share keys; groups are independent.
template <typename Body>
void ForEachKvHead(const AttentionShape& shape, Workspace& workspace, Body body) {
  const auto range = [&](int64_t first, int64_t last, Workspace& own) {
    for (int64_t i = first; i < last; ++i) {
      body(Heads{shape, i / shape.kv_heads, i % shape.kv_heads}, own);
    }
  };
  Divide(workspace, shape.batch * shape.kv_heads, 1, range);
}

void ClearKeysAndValues(const AttentionShape& shape, float* d_qkv) {
  const int64_t from = shape.heads * shape.head_dim;
  for (int64_t row = 0; row < shape.batch * shape.length; ++row) {
    std::fill(d_qkv + row * shape.width() + from, d_qkv + (row + 1) * shape.width(), 0.0f);
  }
}

}  // namespace

void Attention(const AttentionShape& shape, const float* qkv, float* out, float* log_sums,
               Workspace& workspace) {
  const int64_t group = shape.heads / shape.kv_heads;
  ForEachKvHead(shape, workspace, [&](const Heads& at, Workspace& own) {
    float* turned = own.turned.Resize(shape.head_dim * shape.length);
    Turn(qkv + at.row() * shape.width() + at.key_column(), shape.width(), shape.length,
         shape.head_dim, turned);
    for (int64_t head = at.kv * group; head < (at.kv + 1) * group; ++head) {
      float* sums = log_sums + (at.sequence * shape.heads + head) * shape.length;
      for (int64_t first = 0; first < shape.length; first += at.queries()) {
        ForwardBlock(at, at.BlockAt(first), head, qkv, turned, out, sums, own);
      }
    }
  });
}

void AttentionBackward(const AttentionShape& shape, const float* qkv, const float* out,
                       const float* log_sums, const float* d_out, float* d_qkv,
                       Workspace& workspace) {
  const int64_t group = shape.heads / shape.kv_heads, plane = shape.head_dim * shape.length;
  ClearKeysAndValues(shape, d_qkv);
  ForEachKvHead(shape, workspace, [&](const Heads& at, Workspace& own) {
    float* keys = own.turned.Resize(2 * plane);
    float* values = keys + plane;
    const float* rows = qkv + at.row() * shape.width();
    Turn(rows + at.key_column(), shape.width(), shape.length, shape.head_dim, keys);
    Turn(rows + at.value_column(), shape.width(), shape.length, shape.head_dim, values);
    for (int64_t head = at.kv * group; head < (at.kv + 1) * group; ++head) {
      const float* sums = log_sums + (at.sequence * shape.heads + head) * shape.length;
      const BackwardOperands with = {qkv, out, sums, d_out, d_qkv, keys, values};
      for (int64_t first = 0; first < shape.length; first += at.queries()) {
        BackwardBlock(at, at.BlockAt(first), head, with, own);
      }
    }
  });
}

}  // namespace rivulet::kernels
