// Dropout of activations and of attention probabilities.
#include "peft/model/dropout.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>
#include <set>

namespace rivulet {
namespace {

at::Tensor Values(std::vector<int64_t> shape, uint32_t tensor) {
  at::Tensor values = at::empty(shape, at::kFloat);
  RandomStream(7, Purpose::kBaseTensor, 0)
      .FillGauss(tensor, {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values;
}

struct Draw {
  kernels::Workspace workspace;
  Pass pass;
  explicit Draw(uint64_t index, int threads = 1)
      : workspace(threads), pass{&workspace, RandomStream(3, Purpose::kDropout, index), false} {}
};

TEST(DropoutSite, NoTwoPlacesShareAMaskNorDoMethodsReachThem) {
  std::set<uint32_t> seen;
  for (int64_t layer = 0; layer < 1024; ++layer) {
    for (uint32_t place = 0; place <= static_cast<uint32_t>(DropoutPlace::kClassifier); ++place) {
      const uint32_t site = DropoutSite(static_cast<DropoutPlace>(place), layer);
      EXPECT_TRUE(seen.insert(site).second);
      EXPECT_GE(site, 0x80000000u);
    }
  }
}

TEST(Drop, WithoutRateOrStreamIsTheSameTensor) {
  Draw draw(0);
  const at::Tensor x = Values({5, 8}, 1);
  EXPECT_TRUE(Drop(x, 1, 0, draw.pass).is_same(x));
  draw.pass.dropout.reset();
  EXPECT_TRUE(Drop(x, 1, 0.5, draw.pass).is_same(x));
}

TEST(Drop, TheGradientTakesTheSameMask) {
  for (const auto type : {at::kFloat, at::kDouble}) {  // fused, composed
    Draw draw(1);
    const at::Tensor x = Values({40, 300}, 2).abs().add(1).to(type).set_requires_grad(true);
    const at::Tensor y = Drop(x, 9, 0.25, draw.pass);
    torch::autograd::backward({y.sum()});
    EXPECT_TRUE(at::allclose(x.grad() * x.detach(), y.detach()));
    EXPECT_NEAR((y == 0).to(at::kFloat).mean().item<double>(), 0.25, 0.02);
  }
}

TEST(Drop, ThreadsDoNotChangeTheBits) {
  Draw one(1), two(1, 2);
  const at::Tensor x = Values({300, 301}, 2);
  EXPECT_TRUE(at::equal(Drop(x, 9, 0.25, one.pass), Drop(x, 9, 0.25, two.pass)));
}

// The map of a dropped row has the map of the row as its mean, and the variance r / (1 - r) times
// the sum of squared terms. 2000 draws, 30 outputs, 5 deviations: false alarm 30 * 6e-7 = 2e-5 over
// seeds; the seed is fixed.
TEST(Drop, TheMeanOfADroppedLinearMapIsTheUndroppedOne) {
  constexpr int kDraws = 2000;
  constexpr double kRate = 0.2;
  const at::Tensor x = Values({1, 400}, 3), weight = Values({30, 400}, 4);
  at::Tensor sum = at::zeros({1, 30}, at::kDouble);
  for (int draw = 0; draw < kDraws; ++draw) {
    Draw at(draw);
    sum += at::linear(Drop(x, 2, kRate, at.pass), weight).to(at::kDouble);
  }
  const at::Tensor deviation =
      (x * weight).to(at::kDouble).square().sum(1).mul(kRate / (1 - kRate) / kDraws).sqrt();
  const at::Tensor off = (sum / kDraws - at::linear(x, weight).to(at::kDouble)).abs();
  EXPECT_LE((off / deviation).max().item<double>(), 5);
  EXPECT_GT((off / deviation).max().item<double>(), 0.1);  // draws differ at all
}

// ---- attention

constexpr double kRate = 0.3;
constexpr uint32_t kSite = 0x80000001u;

kernels::AttentionShape ShapeOf(int64_t length, bool causal, const Pass& pass) {
  kernels::AttentionShape shape = {2, length, 4, 2, 10, causal, nullptr};
  shape.dropout = MaskOf(pass, kSite, kRate);
  return shape;
}

// The factors as attention.h addresses them, word by word.
at::Tensor Factors(int64_t length) {
  const RandomStream stream(3, Purpose::kDropout, 1);
  const int64_t stride = (length + 3) / 4 * 4;
  at::Tensor factors = at::empty({2 * 4, length, length}, at::kDouble);
  for (int64_t row = 0; row < 2 * 4 * length; ++row) {
    for (int64_t k = 0; k < length; ++k) {
      const uint64_t i = row * stride + k;
      const bool dropped = (stream.Block(i >> 2, kSite).word[i & 3] >> 8) < kRate * 0x1p24;
      factors.view({-1, length})[row][k] = dropped ? 0 : 1 / (1 - kRate);
    }
  }
  return factors.view({2, 4, length, length});
}

at::Tensor Reference(const at::Tensor& qkv, int64_t length, bool causal) {
  const at::Tensor x = qkv.view({2, length, 8, 10}).transpose(1, 2);  // 4 q, 2 k, 2 v heads
  const at::Tensor k = x.narrow(1, 4, 2).repeat_interleave(2, 1);
  const at::Tensor v = x.narrow(1, 6, 2).repeat_interleave(2, 1);
  at::Tensor s = at::matmul(x.narrow(1, 0, 4), k.transpose(2, 3)) / std::sqrt(10.0);
  if (causal) {
    const at::Tensor later = at::ones({length, length}, at::kBool).triu(1);
    s = s.masked_fill(later, -std::numeric_limits<double>::infinity());
  }
  return at::matmul(at::softmax(s, -1) * Factors(length), v)
      .transpose(1, 2)
      .reshape({2 * length, 40});
}

TEST(AttentionDropout, ValuesAndGradientsEqualThoseOfAutograd) {
  for (const bool causal : {true, false}) {
    for (const int64_t length : {1, 7, 58}) {
      Draw draw(1);
      const at::Tensor start = Values({2 * length, 80}, 5), by = Values({2 * length, 40}, 6);
      const at::Tensor fused = start.clone().set_requires_grad(true);
      const at::Tensor exact = start.to(at::kDouble).set_requires_grad(true);
      const at::Tensor y =
          Attend(fused, ShapeOf(length, causal, draw.pass), {}, nullptr, draw.pass);
      const at::Tensor want = Reference(exact, length, causal);
      torch::autograd::backward({y}, {by});
      torch::autograd::backward({want}, {by.to(at::kDouble)});
      EXPECT_LE((y - want).abs().max().item<double>(), 3e-6 * want.abs().max().item<double>());
      EXPECT_LE((fused.grad() - exact.grad()).abs().max().item<double>(),
                3e-6 * exact.grad().abs().max().item<double>() + 1e-12);
    }
  }
}

TEST(AttentionDropout, ThreadsDoNotChangeTheBits) {
  at::Tensor values[2], gradients[2];
  for (int threads : {1, 2}) {
    Draw draw(1, threads);
    const at::Tensor x = Values({2 * 61, 80}, 5).set_requires_grad(true);
    const at::Tensor y = Attend(x, ShapeOf(61, true, draw.pass), {}, nullptr, draw.pass);
    torch::autograd::backward({y}, {Values({2 * 61, 40}, 6)});
    values[threads - 1] = y.detach();
    gradients[threads - 1] = x.grad();
  }
  EXPECT_TRUE(at::equal(values[0], values[1]));
  EXPECT_TRUE(at::equal(gradients[0], gradients[1]));
}

}  // namespace
}  // namespace rivulet
