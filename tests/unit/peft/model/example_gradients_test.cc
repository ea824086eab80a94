// Gradients of single examples against autograd: the composed forms in double, one example's rows
// of the output gradient at a time.
#include "peft/model/example_gradients.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <functional>

#include "peft/model/ops.h"

namespace rivulet {
namespace {

constexpr double kNormBound = 1e-5;  // relative, of a norm in fp32

double EuclideanLength(const float* values, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(values[i]) * values[i];
  return std::sqrt(sum);
}

// Trained tensors of given shapes as views of one buffer, and that buffer.
struct Trained {
  explicit Trained(const std::vector<std::vector<int64_t>>& shapes, uint32_t seed) {
    int64_t size = 0;
    for (const auto& shape : shapes) size += c10::multiply_integers(shape);
    values = at::empty({size}, at::kFloat);
    RandomStream(seed, Purpose::kBaseTensor, 0)
        .FillGauss(0, {values.data_ptr<float>(), static_cast<size_t>(size)});
    int64_t offset = 0;
    for (const auto& shape : shapes) {
      const int64_t count = c10::multiply_integers(shape);
      leaves.push_back(values.narrow(0, offset, count).view(shape).detach());
      leaves.back().set_requires_grad(true);
      offset += count;
    }
  }
  // The same numbers in double, apart from each other.
  std::vector<at::Tensor> Doubles() const {
    std::vector<at::Tensor> doubles;
    for (const at::Tensor& leaf : leaves) {
      doubles.push_back(leaf.detach().to(at::kDouble).clone().set_requires_grad(true));
    }
    return doubles;
  }
  at::Tensor values;
  std::vector<at::Tensor> leaves;
};

at::Tensor Gauss(std::vector<int64_t> shape, uint32_t seed, uint32_t tensor) {
  at::Tensor values = at::empty(shape, at::kFloat);
  RandomStream(seed, Purpose::kBaseTensor, 1)
      .FillGauss(tensor, {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values;
}

// What is computed from x and trained tensors.
using ExampleOperation =
    std::function<at::Tensor(const at::Tensor& x, const std::vector<at::Tensor>& trained, Pass&)>;

// A micro-batch: sequences of different lengths, padded.
struct Sequences {
  std::vector<int32_t> counts;
  int64_t length = 0;

  int64_t rows() const { return static_cast<int64_t>(counts.size()) * length; }
  // `dy` with the tokens of one example alone.
  at::Tensor Only(const at::Tensor& dy, int64_t example) const {
    at::Tensor only = at::zeros_like(dy);
    const int64_t first = example * length, count = counts[example];
    only.narrow(0, first, count).copy_(dy.narrow(0, first, count));
    return only;
  }
};

Sequences DrawSequences(RandomCursor& cursor, uint32_t longest) {
  Sequences sequences;
  sequences.length = 1 + cursor.Bounded(longest);
  for (uint32_t i = 0; i < 1 + cursor.Bounded(4); ++i) {
    sequences.counts.push_back(
        1 + static_cast<int32_t>(cursor.Bounded(static_cast<uint32_t>(sequences.length))));
  }
  return sequences;
}

class ExampleGradientsTest : public ::testing::Test {
 protected:
  // Output gradients of padding are not zero here, so that reading one would be seen.
  void ExpectEqualsAutograd(const ExampleOperation& operation, const at::Tensor& x,
                            const Trained& trained, const Sequences& sequences,
                            const at::Tensor& dy) {
    ExampleGradients gradients(trained.values.data_ptr<float>(), trained.values.numel(),
                               workspace_);
    gradients.Begin(sequences.counts, sequences.length);
    Pass pass = pass_;
    pass.examples = &gradients;
    torch::autograd::backward({operation(x, trained.leaves, pass)}, {dy});
    for (const at::Tensor& leaf : trained.leaves) EXPECT_FALSE(leaf.grad().defined());
    for (int64_t example = 0; example < gradients.examples(); ++example) {
      const std::vector<at::Tensor> doubles = trained.Doubles();
      const at::Tensor y = operation(x.to(at::kDouble), doubles, pass_);
      torch::autograd::backward({y}, {sequences.Only(dy, example).to(at::kDouble)});
      std::vector<at::Tensor> parts;
      for (const at::Tensor& leaf : doubles) parts.push_back(leaf.grad().reshape({-1}));
      const at::Tensor exact = at::cat(parts);
      const std::span<const float> got = gradients.Of(example);
      const double norm = exact.norm().item<double>();
      EXPECT_NEAR(EuclideanLength(got.data(), static_cast<int64_t>(got.size())), norm,
                  kNormBound * norm);
      const at::Tensor as_tensor =
          at::from_blob(const_cast<float*>(got.data()), {exact.numel()}, at::kFloat);
      EXPECT_LE((as_tensor.to(at::kDouble) - exact).norm().item<double>(), kNormBound * norm);
    }
  }

  kernels::Workspace workspace_;
  Pass pass_{&workspace_, std::nullopt, false};
};

// Shapes of one trial.
struct ExampleShapes {
  Sequences sequences;
  int64_t in, out, rank;
};

ExampleShapes DrawShapes(RandomCursor& cursor) {
  ExampleShapes draw;
  draw.sequences = DrawSequences(cursor, 40);
  draw.in = 1 + cursor.Bounded(70);
  draw.out = 1 + cursor.Bounded(70);
  draw.rank = 1 + cursor.Bounded(20);
  return draw;
}

TEST_F(ExampleGradientsTest, OfLowRankFactorsOverRandomShapes) {
  RandomCursor cursor(RandomStream(21, Purpose::kPartition, 0));
  int shorter = 0, longer = 0;
  for (uint32_t trial = 0; trial < 60; ++trial) {
    const ExampleShapes draw = DrawShapes(cursor);
    ++(draw.sequences.length < draw.rank ? shorter : longer);
    const double dropout = trial % 2 ? 0.3 : 0;
    pass_.dropout = RandomStream(trial, Purpose::kDropout, 0);
    const at::Tensor weight = Gauss({draw.out, draw.in}, trial, 0);
    const ExampleOperation operation = [&](const at::Tensor& x,
                                           const std::vector<at::Tensor>& trained, Pass& pass) {
      const LowRank low_rank = {trained[0], trained[1], 0.7, dropout, 3};
      const Linear linear[] = {{weight, {}, nullptr}, {weight, {}, &low_rank}};
      return Project(x, linear, pass);
    };
    const Trained trained({{draw.rank, draw.in}, {draw.out, draw.rank}}, trial);
    const int64_t rows = draw.sequences.rows();
    ExpectEqualsAutograd(operation, Gauss({rows, draw.in}, trial, 1), trained, draw.sequences,
                         Gauss({rows, 2 * draw.out}, trial, 2));
  }
  EXPECT_GT(shorter, 5);
  EXPECT_GT(longer, 5);
}

TEST_F(ExampleGradientsTest, OfWholeMatricesAndBiases) {
  RandomCursor cursor(RandomStream(22, Purpose::kPartition, 0));
  for (uint32_t trial = 0; trial < 20; ++trial) {
    const ExampleShapes draw = DrawShapes(cursor);
    const ExampleOperation operation = [](const at::Tensor& x,
                                          const std::vector<at::Tensor>& trained, Pass& pass) {
      return TrainedLinear(x, trained[0], trained[1], pass);
    };
    const Trained trained({{draw.out, draw.in}, {draw.out}}, trial);
    const int64_t rows = draw.sequences.rows();
    ExpectEqualsAutograd(operation, Gauss({rows, draw.in}, trial, 1), trained, draw.sequences,
                         Gauss({rows, draw.out}, trial, 2));
  }
}

// One row an example, as in a pooler or a head, and the gradient of x behind it.
TEST_F(ExampleGradientsTest, OfMapsThatReadOneRowOfEachSequence) {
  const Sequences sequences = {{9, 4, 6, 1}, 9};
  const ExampleOperation operation = [](const at::Tensor& x, const std::vector<at::Tensor>& trained,
                                        Pass& pass) {
    const at::Tensor first = at::arange(4, at::kLong) * 9;
    const at::Tensor inner = TrainedLinear(x, trained[0], {}, pass);
    // Back on the first rows, so that the output gradient has the rows of the sequences.
    const at::Tensor pooled = TrainedLinear(inner.index_select(0, first), trained[1], {}, pass);
    return at::zeros({36, 5}, x.options()).index_add(0, first, pooled);
  };
  const Trained trained({{12, 10}, {5, 12}}, 3);
  ExpectEqualsAutograd(operation, Gauss({36, 10}, 3, 1), trained, sequences, Gauss({36, 5}, 3, 2));
}

// Modules that share factors add their gradients before the norm, short ones and long ones.
TEST_F(ExampleGradientsTest, OfSharedFactorsAreAddedUp) {
  for (const int64_t length : {3, 30}) {
    const Sequences sequences = {{static_cast<int32_t>(length), 2, 3}, length};
    const at::Tensor w0 = Gauss({16, 16}, 8, 3), w1 = Gauss({16, 16}, 8, 4);
    const ExampleOperation operation = [&](const at::Tensor& x,
                                           const std::vector<at::Tensor>& trained, Pass& pass) {
      const LowRank shared = {trained[0], trained[1], 0.5, 0, 0};
      const Linear first[] = {{w0, {}, &shared}}, second[] = {{w1, {}, &shared}};
      return Project(Project(x, first, pass), second, pass);
    };
    const Trained trained({{8, 16}, {16, 8}}, 8);
    ExpectEqualsAutograd(operation, Gauss({3 * length, 16}, 8, 1), trained, sequences,
                         Gauss({3 * length, 16}, 8, 2));
  }
}

// ||dB||^2 = s^2 <g g^T, h h^T> and ||dA||^2 = s^2 <e e^T, x x^T> with h = x A^T, e = g B.
TEST_F(ExampleGradientsTest, NormsEqualTheProductOfGramMatrices) {
  constexpr double kScale = 0.25;
  for (const int64_t length : {4, 50}) {
    const Trained trained({{8, 24}, {20, 8}}, 5);
    const at::Tensor weight = Gauss({20, 24}, 5, 0), x = Gauss({length, 24}, 5, 1),
                     g = Gauss({length, 20}, 5, 2);
    ExampleGradients gradients(trained.values.data_ptr<float>(), trained.values.numel(),
                               workspace_);
    const std::vector<int32_t> counts = {static_cast<int32_t>(length)};
    gradients.Begin(counts, length);
    Pass pass = pass_;
    pass.examples = &gradients;
    const LowRank low_rank = {trained.leaves[0], trained.leaves[1], kScale, 0, 0};
    const Linear linear[] = {{weight, {}, &low_rank}};
    torch::autograd::backward({Project(x, linear, pass)}, {g});
    const auto gram = [](const at::Tensor& rows) {
      const at::Tensor wide = rows.detach().to(at::kDouble);
      return at::matmul(wide, wide.t());
    };
    const at::Tensor h = at::matmul(x, trained.leaves[0].t()), e = at::matmul(g, trained.leaves[1]);
    const double a = kScale * std::sqrt((gram(e) * gram(x)).sum().item<double>());
    const double b = kScale * std::sqrt((gram(g) * gram(h)).sum().item<double>());
    const std::span<const float> whole = gradients.Of(0);
    EXPECT_NEAR(EuclideanLength(whole.data(), 8 * 24), a, kNormBound * a);
    EXPECT_NEAR(EuclideanLength(whole.data() + 8 * 24, 20 * 8), b, kNormBound * b);
  }
}

TEST_F(ExampleGradientsTest, FrozenFactorsHaveNone) {
  const Trained trained({{20, 8}}, 6);
  const at::Tensor fixed = Gauss({8, 24}, 6, 0), weight = Gauss({20, 24}, 6, 1);
  ExampleGradients gradients(trained.values.data_ptr<float>(), trained.values.numel(), workspace_);
  const std::vector<int32_t> counts = {5, 7};
  gradients.Begin(counts, 7);
  EXPECT_FALSE(gradients.Trains(fixed));
  EXPECT_TRUE(gradients.Trains(trained.leaves[0]));
  Pass pass = pass_;
  pass.examples = &gradients;
  const LowRank low_rank = {fixed, trained.leaves[0], 1, 0, 0};
  const Linear linear[] = {{weight, {}, &low_rank}};
  torch::autograd::backward({Project(Gauss({14, 24}, 6, 2), linear, pass)},
                            {Gauss({14, 20}, 6, 3)});
  EXPECT_EQ(gradients.Of(0).size(), 160u);
  EXPECT_GT(EuclideanLength(gradients.Of(0).data(), 160), 0);
}

TEST_F(ExampleGradientsTest, RowsOfAnotherBatchAreRefused) {
  const Trained trained({{20, 24}}, 6);
  ExampleGradients gradients(trained.values.data_ptr<float>(), trained.values.numel(), workspace_);
  const std::vector<int32_t> counts = {5, 7};
  gradients.Begin(counts, 7);
  const at::Tensor left = Gauss({13, 20}, 6, 2), right = Gauss({13, 24}, 6, 3);
  EXPECT_THROW(gradients.Add(trained.leaves[0], {left, 0, 20}, {right, 0, 24}), c10::Error);
  const at::Tensor rows = Gauss({14, 20}, 6, 2);
  EXPECT_THROW(gradients.Add(trained.leaves[0], {rows, 0, 20}, {rows, 0, 20}), c10::Error);
}

}  // namespace
}  // namespace rivulet
