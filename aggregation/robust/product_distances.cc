#include <algorithm>
#include <string>

#include "aggregation/lora_rules.h"
#include "aggregation/parallel.h"
#include "aggregation/robust/distances.h"
#include "aggregation/robust/kernels.h"

namespace rivulet {
namespace {

// Vectors of one length in a row, in binary32: sums with the global factors are rounded to it, as
// the model that would be published is.
struct FactorRows {
  size_t count = 0;
  size_t length = 0;
  std::vector<float> values;

  FactorRows(size_t count, size_t length) : count(count), length(length), values(count * length) {}
  float* row(size_t index) { return values.data() + index * length; }
};

std::vector<double> GramOf(FactorRows& rows) {
  std::vector<double> gram(rows.count * rows.count);
  std::vector<double> scratch(rows.count * kGramStride);
  std::vector<const float*> at(rows.count);
  for (size_t done = 0; done < rows.length; done += kGramColumns) {
    for (size_t row = 0; row < rows.count; ++row) at[row] = rows.row(row) + done;
    AddGram(at, std::min(kGramColumns, rows.length - done), scratch.data(), gram.data());
  }
  return gram;
}

// One module of a batch.
struct ModuleOfBatch {
  const UpdateBatch& batch;
  const LoraPair& pair;
  size_t rank, inputs, outputs;

  std::span<const float> whole(size_t update, size_t tensor) const {
    return batch.values(update, {tensor, 0, tensor == pair.a ? rank * inputs : outputs * rank, 0});
  }

  // |(b_i - b_j)(A + a_i) + (B + b_j)(a_i - a_j)|_F^2 = sum_qq' <x_q, x_q'> <y_q, y_q'> with x the
  // 2r columns on the left and y the 2r rows on the right.
  double Distance(size_t i, size_t j) const {
    FactorRows x(2 * rank, outputs);
    FactorRows y(2 * rank, inputs);
    FillLeft(i, j, x);
    FillRight(i, j, y);
    const std::vector<double> left = GramOf(x);
    const std::vector<double> right = GramOf(y);
    double square = 0;
    for (size_t row = 0; row < x.count; ++row) {
      for (size_t other = row; other < x.count; ++other) {
        const double term = left[row * x.count + other] * right[row * x.count + other];
        square += row == other ? term : 2 * term;
      }
    }
    return std::max(square, 0.0);
  }

 private:
  void FillLeft(size_t i, size_t j, FactorRows& x) const {
    const std::span<const float> base = batch.context().global->floats(pair.b);
    const std::span<const float> mine = whole(i, pair.b);
    const std::span<const float> other = whole(j, pair.b);
    const double fi = batch.factor(i, pair.b), fj = batch.factor(j, pair.b);
    for (size_t out = 0; out < outputs; ++out) {
      for (size_t q = 0; q < rank; ++q) {
        const size_t at = out * rank + q;
        x.row(q)[out] = static_cast<float>(fi * mine[at] - fj * other[at]);
        x.row(rank + q)[out] = static_cast<float>(base[at] + fj * other[at]);
      }
    }
  }

  void FillRight(size_t i, size_t j, FactorRows& y) const {
    const std::span<const float> base = batch.context().global->floats(pair.a);
    const std::span<const float> mine = whole(i, pair.a);
    const std::span<const float> other = whole(j, pair.a);
    const double fi = batch.factor(i, pair.a), fj = batch.factor(j, pair.a);
    for (size_t at = 0; at < rank * inputs; ++at) {
      y.values[at] = static_cast<float>(base[at] + fi * mine[at]);
      y.values[rank * inputs + at] = static_cast<float>(fi * mine[at] - fj * other[at]);
    }
  }
};

absl::StatusOr<std::vector<LoraPair>> PairsOfContext(const RobustContext& context) {
  if (context.global == nullptr) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "robust.product-space: got no global model, want the one the updates start from");
  }
  for (size_t tensor = 0; tensor < context.manifest->size(); ++tensor) {
    TensorSpec want = (*context.manifest)[tensor];
    want.dtype = DType::kF32;
    if (tensor < context.global->size() && context.global->manifest()[tensor] == want) continue;
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "robust.product-space: got a global model without " + Describe(want));
  }
  Manifest manifest = *context.manifest;
  for (TensorSpec& spec : manifest) spec.dtype = DType::kF32;
  RV_ASSIGN_OR_RETURN(std::vector<LoraPair> pairs, LoraPairsOf(manifest));
  if (!pairs.empty()) return pairs;
  return Refuse(absl::StatusCode::kInvalidArgument,
                "robust.product-space: got no pair of LoRA factors, want at least one");
}

// Flat squared distances of what is no factor of a pair.
std::vector<double> OtherDistances(const UpdateBatch& batch, const std::vector<bool>& factor) {
  const size_t n = batch.n();
  return batch.Sums(n * n, [&](const UpdatePiece& piece, double* sums) {
    if (factor[piece.tensor]) return;
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = i + 1; j < n; ++j) {
        sums[i * n + j] +=
            SquaredDifference(batch.values(i, piece), batch.factor(i, piece.tensor),
                              batch.values(j, piece).data(), batch.factor(j, piece.tensor));
      }
    }
  });
}

}  // namespace

absl::StatusOr<DistanceTable> ProductDistances(const UpdateBatch& batch) {
  RV_ASSIGN_OR_RETURN(const std::vector<LoraPair> pairs, PairsOfContext(batch.context()));
  RV_RETURN_IF_ERROR(batch.CheckNumbers(batch.SquaredNorms()));
  const size_t n = batch.n();
  std::vector<bool> factor(batch.tensors());
  for (const LoraPair& pair : pairs) factor[pair.a] = factor[pair.b] = true;
  DistanceTable table{n, OtherDistances(batch, factor)};
  const Manifest& manifest = *batch.context().manifest;
  batch.ForEachPair([&](size_t i, size_t j) {
    double square = table.at(i, j);
    for (const LoraPair& pair : pairs) {
      const auto dimension = [&](size_t tensor, size_t axis) {
        return static_cast<size_t>(manifest[tensor].shape[axis]);
      };
      square += ModuleOfBatch{batch, pair, dimension(pair.a, 0), dimension(pair.a, 1),
                              dimension(pair.b, 0)}
                    .Distance(i, j);
    }
    table.Set(i, j, square);
  });
  return table;
}

}  // namespace rivulet
