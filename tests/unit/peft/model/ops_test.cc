// Every fused operation, and every composed one on a GPU, against its composed form in double
// precision on the CPU: values and gradients.
#include "peft/model/ops.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>

#include "peft/kernels/gemm.h"
#include "peft/kernels/matrix_unit.h"
#include "peft/model/dropout.h"

namespace rivulet {
namespace {

using Inputs = std::vector<at::Tensor>;
using Operation = std::function<at::Tensor(const Inputs&)>;

// Fixed numbers, the same on every machine.
at::Tensor Numbers(std::vector<int64_t> shape, uint32_t tensor, float scale = 1.0f) {
  at::Tensor values = at::empty(shape, at::kFloat);
  RandomStream(7, Purpose::kBaseTensor, 0)
      .FillGauss(tensor, {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values * scale;
}

struct Outcome {
  at::Tensor value;
  Inputs gradients;
};

// The first `trained` inputs get gradients; the others are frozen.
Outcome OutcomeOf(const Operation& operation, const Inputs& inputs, size_t trained,
                  at::ScalarType type, at::Device device = at::kCPU) {
  Inputs leaves;
  for (size_t i = 0; i < inputs.size(); ++i) {
    leaves.push_back(inputs[i].to(device, type).detach().clone().set_requires_grad(i < trained));
  }
  Outcome outcome;
  const at::Tensor value = operation(leaves);
  torch::autograd::backward({value}, {Numbers(value.sizes().vec(), 99).to(device, type)});
  outcome.value = value.cpu();
  for (size_t i = 0; i < trained; ++i) outcome.gradients.push_back(leaves[i].grad().cpu());
  return outcome;
}

void ExpectNear(const Outcome& got, const Outcome& exact, double bound) {
  const auto near = [bound](const at::Tensor& value, const at::Tensor& want) {
    const double scale = want.abs().max().item<double>();
    EXPECT_LE((value - want).abs().max().item<double>(), bound * scale);
  };
  near(got.value, exact.value);
  for (size_t i = 0; i < exact.gradients.size(); ++i) near(got.gradients[i], exact.gradients[i]);
}

void ExpectFusedEqualsComposed(const Operation& operation, const Inputs& inputs, size_t trained) {
  ExpectNear(OutcomeOf(operation, inputs, trained, at::kFloat),
             OutcomeOf(operation, inputs, trained, at::kDouble), 3e-6);
}

class Ops : public ::testing::Test {
 protected:
  kernels::Workspace workspace_;
  Pass pass_{&workspace_, std::nullopt, false};
};

TEST_F(Ops, RmsNormIsExactAndSoIsItsGradient) {
  for (int64_t width : {5, 64, 200}) {
    ExpectFusedEqualsComposed([](const Inputs& in) { return RmsNorm(in[0], in[1], 1e-5); },
                              {Numbers({9, width}, 1), Numbers({width}, 2)}, 1);
    ExpectFusedEqualsComposed([](const Inputs& in) { return RmsNorm(in[0], in[1], 1e-5); },
                              {Numbers({9, width}, 1), Numbers({width}, 2)}, 2);
  }
}

TEST_F(Ops, SwiGluIsExactAndSoIsItsGradient) {
  for (int64_t width : {3, 48, 70}) {
    ExpectFusedEqualsComposed([](const Inputs& in) { return SwiGlu(in[0]); },
                              {Numbers({11, 2 * width}, 3, 3.0f)}, 1);
  }
}

RotaryTable Table(int64_t length, int64_t half) {
  return {Numbers({length, half}, 4), Numbers({length, half}, 5)};
}

TEST_F(Ops, CausalAttentionOfGroupedHeadsIsExactAndSoIsItsGradient) {
  for (int64_t length : {1, 7, 60, 130}) {
    const kernels::AttentionShape shape = {2, length, 4, 2, 10, true, nullptr};
    const RotaryTable rotary = Table(length, 5);
    ExpectFusedEqualsComposed(
        [&](const Inputs& in) { return Attend(in[0], shape, {}, &rotary, pass_); },
        {Numbers({2 * length, shape.width()}, 6)}, 1);
  }
}

TEST_F(Ops, AttentionIgnoresPaddingKeys) {
  const kernels::AttentionShape shape = {3, 61, 2, 2, 16, false, nullptr};
  const at::Tensor counts = at::tensor(std::vector<int>{61, 1, 40}, at::kInt);
  ExpectFusedEqualsComposed(
      [&](const Inputs& in) { return Attend(in[0], shape, counts, nullptr, pass_); },
      {Numbers({3 * 61, shape.width()}, 7)}, 1);
}

// Operands of 8 significant bits move results by parts of a thousand where a matrix unit takes
// them, and not at all where none does. Several blocks of queries, padding, a group of heads.
TEST_F(Ops, AttentionThatMayRoundIsRoundedByAMatrixUnitAlone) {
  const at::Tensor counts = at::tensor(std::vector<int>{300, 1, 140}, at::kInt);
  for (const bool causal : {false, true}) {
    kernels::AttentionShape shape = {3, 300, 4, 2, 20, causal, nullptr};
    const Inputs inputs = {Numbers({3 * 300, shape.width()}, 8)};
    const auto outcome = [&](bool may_round) {
      shape.may_round = may_round;
      const Operation attend = [&](const Inputs& in) {
        return Attend(in[0], shape, counts, nullptr, pass_);
      };
      return OutcomeOf(attend, inputs, 1, at::kFloat);
    };
    const Outcome exact = outcome(false), rounded = outcome(true);
    const bool by_unit = kernels::MultipliesBf16() && kernels::HasMatrixUnit();
    EXPECT_EQ(at::equal(exact.value, rounded.value), !by_unit);
    EXPECT_EQ(at::equal(exact.gradients[0], rounded.gradients[0]), !by_unit);
    ExpectNear(rounded, exact, 2e-2);
  }
}

// Inputs: x, A0, B0, A1, B1, W0, W1, W2, bias of W0. The third map has no factors.
Operation ThreeMaps(Pass& pass, double dropout) {
  return [&pass, dropout](const Inputs& in) {
    const LowRank first = {in[1], in[2], 0.5, dropout, 0};
    const LowRank second = {in[3], in[4], 2.0, dropout, 1};
    const Linear maps[] = {{in[5], in[8], &first}, {in[6], {}, &second}, {in[7], {}, nullptr}};
    return Project(in[0], maps, pass);
  };
}

Inputs ThreeMapsInputs(int64_t rows) {
  return {Numbers({rows, 40}, 10), Numbers({3, 40}, 11),  Numbers({33, 3}, 12),
          Numbers({5, 40}, 13),    Numbers({17, 5}, 14),  Numbers({33, 40}, 15),
          Numbers({17, 40}, 16),   Numbers({50, 40}, 17), Numbers({33}, 18)};
}

TEST_F(Ops, ProjectionsWithLowRankTermsAreExactAndSoAreTheirGradients) {
  for (int64_t rows : {1, 20, 90}) {
    ExpectFusedEqualsComposed(ThreeMaps(pass_, 0), ThreeMapsInputs(rows), 5);
    ExpectFusedEqualsComposed(ThreeMaps(pass_, 0), ThreeMapsInputs(rows), 7);  // W2 frozen
    ExpectFusedEqualsComposed(ThreeMaps(pass_, 0), ThreeMapsInputs(rows), 9);
  }
}

TEST_F(Ops, DropoutUsesTheSameAddressedMaskForwardAndBackward) {
  pass_.dropout = RandomStream(3, Purpose::kDropout, 4);
  ExpectFusedEqualsComposed(ThreeMaps(pass_, 0.3), ThreeMapsInputs(30), 5);
  ExpectFusedEqualsComposed(ThreeMaps(pass_, 0.3), ThreeMapsInputs(30), 9);
}

// Fused and composed: lanes with factors of their own have the masks that each has by itself.
TEST_F(Ops, LanesAreProjectedAsEachByItself) {
  const at::NoGradGuard no_grad;
  for (const auto& [type, count] :
       {std::pair{at::kFloat, 7}, {at::kFloat, 300}, {at::kDouble, 7}}) {
    const at::Tensor x = Numbers({3 * count, 20}, 1).to(type), w = Numbers({9, 20}, 2).to(type);
    const at::Tensor a = Numbers({3, 2, 20}, 3).to(type), b = Numbers({3, 9, 2}, 4).to(type);
    pass_.dropout = RandomStream(5, Purpose::kDropout, 0);
    const auto project = [&](const at::Tensor& rows, LowRank low_rank, int64_t lanes) {
      low_rank.scale = 0.5, low_rank.dropout = 0.3, low_rank.site = 4;
      pass_.lanes = lanes;
      const Linear members[] = {{w, {}, &low_rank}, {w, {}, nullptr}};
      return Drop(Project(rows, members, pass_), 6, 0.2, pass_);
    };
    const at::Tensor together = project(x, {a, b}, 3);
    const at::Tensor frozen_a = project(x, {a[0], b}, 3);
    for (int64_t lane = 0; lane < 3; ++lane) {
      const int64_t first = count * lane;
      const at::Tensor rows = x.narrow(0, first, count);
      const auto of_lane = [&, n = count](const at::Tensor& y) { return y.narrow(0, first, n); };
      const Outcome own = {project(rows, {a[lane], b[lane]}, 1), {}};
      ExpectNear({of_lane(together), {}}, own, 3e-6);
      const Outcome shared = {project(rows, {a[0], b[lane]}, 1), {}};
      ExpectNear({of_lane(frozen_a), {}}, shared, 3e-6);
    }
    EXPECT_FALSE(at::allclose(together, frozen_a));
  }
}

TEST_F(Ops, TokenLossInChunksEqualsTheWholeAndSoDoesItsGradient) {
  // 20,000 classes make a chunk of 28 rows.
  const at::Tensor targets = at::remainder(at::arange(70, at::kInt) * 7919, 20000).to(at::kInt);
  const auto loss = [&](const Inputs& in) { return TokenLoss(in[0], in[1], targets, pass_).mean; };
  ExpectFusedEqualsComposed(loss, {Numbers({70, 24}, 20), Numbers({20000, 24}, 21)}, 1);
  ExpectFusedEqualsComposed(loss, {Numbers({70, 24}, 20), Numbers({20000, 24}, 21)}, 2);
}

// A GPU adds in another order, hence the wider bound.
class OpsOnCuda : public Ops {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "libtorch sees no CUDA device";
  }
  void ExpectEqualsCpu(const Operation& operation, const Inputs& inputs, size_t trained) {
    ExpectNear(OutcomeOf(operation, inputs, trained, at::kFloat, at::kCUDA),
               OutcomeOf(operation, inputs, trained, at::kDouble), 1e-5);
  }
};

TEST_F(OpsOnCuda, NormAndGateEqualTheCpu) {
  ExpectEqualsCpu([](const Inputs& in) { return RmsNorm(in[0], in[1], 1e-5); },
                  {Numbers({9, 64}, 1), Numbers({64}, 2)}, 1);
  ExpectEqualsCpu([](const Inputs& in) { return SwiGlu(in[0]); }, {Numbers({11, 96}, 3, 3.0f)}, 1);
}

TEST_F(OpsOnCuda, AttentionEqualsTheCpu) {
  const kernels::AttentionShape causal = {2, 60, 4, 2, 10, true, nullptr};
  const RotaryTable rotary = Table(60, 5);
  ExpectEqualsCpu([&](const Inputs& in) { return Attend(in[0], causal, {}, &rotary, pass_); },
                  {Numbers({2 * 60, causal.width()}, 6)}, 1);
  const kernels::AttentionShape padded = {3, 61, 2, 2, 16, false, nullptr};
  const at::Tensor counts = at::tensor(std::vector<int>{61, 1, 40}, at::kInt);
  ExpectEqualsCpu([&](const Inputs& in) { return Attend(in[0], padded, counts, nullptr, pass_); },
                  {Numbers({3 * 61, padded.width()}, 7)}, 1);
}

TEST_F(OpsOnCuda, ProjectionsWithDropoutEqualTheCpu) {
  pass_.dropout = RandomStream(3, Purpose::kDropout, 4);
  ExpectEqualsCpu(ThreeMaps(pass_, 0.3), ThreeMapsInputs(30), 5);
}

TEST_F(OpsOnCuda, TokenLossEqualsTheCpu) {
  const at::Tensor targets = at::remainder(at::arange(70, at::kInt) * 7919, 2000).to(at::kInt);
  ExpectEqualsCpu([&](const Inputs& in) { return TokenLoss(in[0], in[1], targets, pass_).mean; },
                  {Numbers({70, 24}, 20), Numbers({2000, 24}, 21)}, 2);
}

}  // namespace
}  // namespace rivulet
