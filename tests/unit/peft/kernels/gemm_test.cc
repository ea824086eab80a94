// Products against a plain loop in double precision.
#include "peft/kernels/gemm.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <ostream>
#include <vector>

#include "common/random.h"
#include "peft/kernels/matrix_unit.h"

namespace rivulet::kernels {
namespace {

std::vector<float> Numbers(int64_t n, uint32_t tensor) {
  std::vector<float> values(n);
  RandomStream(11, Purpose::kBaseTensor, 0).FillGauss(tensor, values);
  return values;
}

double At(const Matrix& m, int64_t row, int64_t column) {
  return m.data[row * m.row_stride + column * m.column_stride];
}

// fp32 sums of k products of unit normals: k * 2^-24 times the sum of magnitudes, generously.
void ExpectProduct(const GemmCall& call, const std::vector<float>& before) {
  for (int64_t i = 0; i < call.m; ++i) {
    for (int64_t j = 0; j < call.n; ++j) {
      double want = call.accumulate ? before[i * call.c_stride + j] : 0;
      double size = std::abs(want);
      if (call.bias) want += call.bias[j];
      for (const Product& product : call.products) {
        for (int64_t k = 0; k < product.k; ++k) {
          const double term = At(product.a, i, k) * At(product.b, k, j);
          want += term;
          size += std::abs(term);
        }
      }
      ASSERT_NEAR(call.c[i * call.c_stride + j], want, 1e-6 * (size + 1)) << i << ", " << j;
    }
  }
}

struct Size {
  int64_t m, n, k;
};

void PrintTo(const Size& size, std::ostream* out) {
  *out << size.m << " x " << size.n << " x " << size.k;
}

class GemmSizes : public ::testing::TestWithParam<Size> {
 protected:
  Workspace workspace_;
};

TEST_P(GemmSizes, EveryOrientationEqualsThePlainLoop) {
  const auto [m, n, k] = GetParam();
  const auto a = Numbers(m * k, 1), b = Numbers(n * k, 2);
  for (const Matrix& left : {Matrix{a.data(), k, 1}, Matrix{a.data(), 1, m}}) {
    for (const Matrix& right : {Matrix{b.data(), n, 1}, Matrix{b.data(), 1, k}}) {
      std::vector<float> c(m * n);
      const Product product = {left, right, k};
      const GemmCall call = {m, n, {&product, 1}, c.data(), n};
      kernels::Gemm(call, workspace_);
      ExpectProduct(call, c);
    }
  }
}

TEST_P(GemmSizes, SeveralSummandsBiasAndAccumulationEqualThePlainLoop) {
  const auto [m, n, k] = GetParam();
  const auto a = Numbers(m * k, 3), b = Numbers(n * k, 4), bias = Numbers(n, 5);
  const auto u = Numbers(m * 3, 6), v = Numbers(n * 3, 7);
  const Product products[] = {{{a.data(), k, 1}, {b.data(), 1, k}, k},
                              {{u.data(), 3, 1}, {v.data(), n, 1}, 3}};
  for (bool accumulate : {false, true}) {
    std::vector<float> c = Numbers(m * (n + 5), 8);
    const std::vector<float> before = c;
    const GemmCall call = {m, n, products, c.data(), n + 5, bias.data(), accumulate};
    kernels::Gemm(call, workspace_);
    ExpectProduct(call, before);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = n; j < n + 5; ++j) ASSERT_EQ(c[i * (n + 5) + j], before[i * (n + 5) + j]);
    }
  }
}

// Values that bf16 holds, and as such.
std::vector<float> Bf16Numbers(int64_t n, uint32_t tensor) {
  std::vector<float> values = Numbers(n, tensor);
  for (float& value : values) {
    value = std::bit_cast<float>(std::bit_cast<uint32_t>(value) & 0xFFFF0000u);
  }
  return values;
}
std::vector<uint16_t> Narrow(const std::vector<float>& values) {
  std::vector<uint16_t> narrow;
  for (float value : values) {
    narrow.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
  }
  return narrow;
}

// Products of bf16 values are exact in fp32, so only the sums round.
TEST_P(GemmSizes, Bf16OperandsEqualThePlainLoop) {
  const auto [m, n, k] = GetParam();
  const auto a = Bf16Numbers(m * k, 12), b = Bf16Numbers(n * k, 13);
  const std::vector<uint16_t> narrow = Narrow(b);
  for (const Matrix& right : {Matrix{b.data(), n, 1}, Matrix{b.data(), 1, k}}) {
    std::vector<float> c(m * n);
    const Product plain = {{a.data(), k, 1}, right, k};
    Product product = plain;
    product.narrow = narrow.data();
    product.b.data = nullptr;
    kernels::Gemm({m, n, {&product, 1}, c.data(), n}, workspace_);
    ExpectProduct({m, n, {&plain, 1}, c.data(), n}, c);
  }
}

// Two bf16 summands with a low-rank fp32 one between them, as in a backward pass.
TEST_P(GemmSizes, Bf16SummandsBiasAndAccumulationEqualThePlainLoop) {
  const auto [m, n, k] = GetParam();
  const auto a = Bf16Numbers(m * k, 16), b = Bf16Numbers(n * k, 17);
  const auto u = Numbers(m * 3, 18), v = Numbers(n * 3, 19), bias = Numbers(n, 20);
  const std::vector<uint16_t> narrow = Narrow(b);
  const Product plain[] = {{{a.data(), k, 1}, {b.data(), n, 1}, k},
                           {{u.data(), 3, 1}, {v.data(), n, 1}, 3},
                           {{a.data(), k, 1}, {b.data(), 1, k}, k}};
  Product products[] = {plain[0], plain[1], plain[2]};
  for (Product* product : {&products[0], &products[2]}) {
    product->narrow = narrow.data();
    product->b.data = nullptr;
  }
  for (const bool accumulate : {false, true}) {
    for (const float* added : {static_cast<const float*>(nullptr), bias.data()}) {
      std::vector<float> c = Numbers(m * (n + 5), 21);
      const std::vector<float> before = c;
      kernels::Gemm({m, n, products, c.data(), n + 5, added, accumulate}, workspace_);
      ExpectProduct({m, n, plain, c.data(), n + 5, added, accumulate}, before);
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = n; j < n + 5; ++j) ASSERT_EQ(c[i * (n + 5) + j], before[i * (n + 5) + j]);
      }
    }
  }
}

TEST_P(GemmSizes, OperandsThatMayRoundEqualThePlainLoopInEveryOrientation) {
  const auto [m, n, k] = GetParam();
  const auto a = Bf16Numbers(m * k, 22), b = Bf16Numbers(n * k, 23);
  for (const Matrix& left : {Matrix{a.data(), k, 1}, Matrix{a.data(), 1, m}}) {
    for (const Matrix& right : {Matrix{b.data(), n, 1}, Matrix{b.data(), 1, k}}) {
      for (const bool accumulate : {false, true}) {
        std::vector<float> c = Numbers(m * n, 24);
        const std::vector<float> before = c;
        const Product product = {left, right, k, nullptr, true};
        const GemmCall call = {m, n, {&product, 1}, c.data(), n, nullptr, accumulate};
        kernels::Gemm(call, workspace_);
        ExpectProduct(call, before);
      }
    }
  }
}

// Maps with their low-rank terms, which join a full block of the inner dimension.
TEST_P(GemmSizes, Bf16SummandsBesideShortOnesThatMayRoundEqualThePlainLoop) {
  const auto [m, n, k] = GetParam();
  const auto a = Bf16Numbers(m * k, 25), b = Bf16Numbers(n * k, 26), bias = Numbers(n, 27);
  const auto u = Bf16Numbers(m * 7, 28), v = Bf16Numbers(n * 7, 29);
  const std::vector<uint16_t> narrow = Narrow(b);
  const Product plain[] = {{{a.data(), k, 1}, {b.data(), 1, k}, k},
                           {{u.data(), 7, 1}, {v.data(), 1, 7}, 7},
                           {{a.data(), k, 1}, {b.data(), n, 1}, k},
                           {{u.data(), 7, 1}, {v.data(), n, 1}, 7}};
  Product products[] = {plain[0], plain[1], plain[2], plain[3]};
  for (Product* product : {&products[0], &products[2]}) {
    product->narrow = narrow.data();
    product->b.data = nullptr;
  }
  products[1].may_round = products[3].may_round = true;
  for (const float* added : {static_cast<const float*>(nullptr), bias.data()}) {
    std::vector<float> c = Numbers(m * n, 30);
    const std::vector<float> before = c;
    kernels::Gemm({m, n, products, c.data(), n, added, true}, workspace_);
    ExpectProduct({m, n, plain, c.data(), n, added, true}, before);
  }
}

// A block of the inner dimension (768) ends inside the second summand, which is short.
TEST(Gemm, AShortBf16SummandBehindAWideOneIsTakenToItsEndAndNoFurther) {
  constexpr int64_t kM = 40, kN = 33, kWide = 728, kShort = 56;
  const auto a = Bf16Numbers(kM * kWide, 33), b = Bf16Numbers(kN * kWide, 34);
  const auto u = Bf16Numbers(kM * kShort, 35), v = Bf16Numbers(kN * kShort, 36);
  const std::vector<uint16_t> narrow = Narrow(v);
  const Product plain[] = {{{a.data(), kWide, 1}, {b.data(), 1, kWide}, kWide},
                           {{u.data(), kShort, 1}, {v.data(), 1, kShort}, kShort},
                           {{u.data(), kShort, 1}, {v.data(), 1, kShort}, kShort}};
  Product products[] = {plain[0], plain[1], plain[2]};
  products[1].narrow = narrow.data();
  products[1].b.data = nullptr;
  products[2].may_round = true;
  std::vector<float> c(kM * kN);
  Workspace workspace;
  kernels::Gemm({kM, kN, products, c.data(), kN}, workspace);
  ExpectProduct({kM, kN, plain, c.data(), kN}, std::vector<float>(kM * kN));
}

TEST(Gemm, OperandsThatMayRoundAreRoundedByAMatrixUnitAlone) {
  const float third = 1.0f / 3, near = std::bit_cast<float>(0x3EAB0000u);  // 0.333984375
  const float a[] = {third, third, third, third};
  Workspace workspace;
  for (const bool may_round : {false, true}) {
    float c[4];
    const Product product = {{a, 1, 1}, {&third, 1, 1}, 1, nullptr, may_round};
    kernels::Gemm({4, 1, {&product, 1}, c, 1}, workspace);
    const float factor = may_round && MultipliesBf16() && HasMatrixUnit() ? near : third;
    EXPECT_EQ(c[3], factor * factor);
  }
}

// Four rows, since fewer are widened instead. Nearest even: 1 + 2^-8 lies between 1 and 1 + 2^-7
// and goes to 1; 1 + 3 * 2^-8 goes to 1 + 2^-6.
TEST(Gemm, TheLeftOperandIsRoundedToNearestEven) {
  if (!MultipliesBf16()) GTEST_SKIP() << "this CPU does not multiply bf16";
  const float a[] = {1.0f + 0x1p-8f, 1.0f + 3 * 0x1p-8f, -(1.0f + 0x1p-8f), 1.0f + 0x1.8p-8f};
  const uint16_t one = 0x3F80;
  float c[4];
  Workspace workspace;
  const Product product = {{a, 1, 1}, {nullptr, 1, 1}, 1, &one};
  kernels::Gemm({4, 1, {&product, 1}, c, 1}, workspace);
  EXPECT_EQ(c[0], 1.0f);
  EXPECT_EQ(c[1], 1.0f + 0x1p-6f);
  EXPECT_EQ(c[2], -1.0f);
  EXPECT_EQ(c[3], 1.0f + 0x1p-7f);
}

// Edges of tiles (14 x 32, 6 x 16, 32 x 32), of blocks (768, 512; 256 x 1024 of the matrix unit)
// and of the path that does not pack.
INSTANTIATE_TEST_SUITE_P(All, GemmSizes,
                         ::testing::Values(Size{1, 1, 1}, Size{1, 100, 33}, Size{2, 9, 200},
                                           Size{3, 40, 7}, Size{14, 32, 8}, Size{15, 33, 9},
                                           Size{56, 70, 64}, Size{57, 8, 65}, Size{60, 530, 20},
                                           Size{100, 31, 800}, Size{20, 64, 1600},
                                           Size{80, 48, 512}, Size{30, 40, 1}, Size{64, 96, 1568},
                                           Size{290, 40, 1100}),
                         [](const auto& info) {
                           return std::to_string(info.param.m) + "x" +
                                  std::to_string(info.param.n) + "x" + std::to_string(info.param.k);
                         });

// Divided by columns; by rows, the last piece of which has two; as dot products.
TEST(Gemm, ATeamGivesTheBitsOfOneThread) {
  for (const auto& [m, n, k] :
       {Size{130, 300, 90}, Size{590, 24, 90}, Size{128, 100, 900}, Size{3, 900, 300}}) {
    const auto a = Numbers(m * k, 14), b = Bf16Numbers(n * k, 15);
    const std::vector<uint16_t> narrow = Narrow(b);
    std::vector<float> alone(m * n), together(m * n);
    Workspace one, three(3);
    for (const Product& kind : {Product{}, {.narrow = narrow.data()}, {.may_round = true}}) {
      for (const Matrix& right : {Matrix{b.data(), n, 1}, Matrix{b.data(), 1, k}}) {
        Product product = kind;
        product.a = {a.data(), k, 1};
        product.b = right;
        product.k = k;
        kernels::Gemm({m, n, {&product, 1}, alone.data(), n}, one);
        kernels::Gemm({m, n, {&product, 1}, together.data(), n}, three);
        EXPECT_EQ(alone, together) << (kind.narrow != nullptr) << kind.may_round;
      }
    }
  }
}

// Columns 64 .. 64 + k of wider rows, divided by columns and by rows; nothing without a matrix
// unit.
TEST(Gemm, OperandsInTilesGiveTheBitsOfPlainOnes) {
  for (const auto& [m, n, k] : {Size{130, 300, 90}, Size{590, 24, 900}, Size{33, 40, 1700}}) {
    const int64_t width = k + 70;
    const auto a = Numbers(m * width, 31), b = Bf16Numbers(n * k, 32);
    const std::vector<uint16_t> narrow = Narrow(b);
    Workspace three(3);
    Scratch memory;
    const Matrix rows = {a.data(), width, 1};
    const Tiles tiles = ToTiles(m, width, rows, memory, three);
    EXPECT_EQ(tiles.data != nullptr, MultipliesBf16() && HasMatrixUnit());
    EXPECT_EQ(tiles.From(33).data, nullptr);
    for (Product product : {Product{.narrow = narrow.data()}, Product{.may_round = true}}) {
      product.a = {a.data() + 64, width, 1};
      product.b = {b.data(), n, 1};
      product.k = k;
      std::vector<float> plain(m * n), tiled(m * n);
      kernels::Gemm({m, n, {&product, 1}, plain.data(), n}, three);
      product.a.tiles = tiles.From(64);
      kernels::Gemm({m, n, {&product, 1}, tiled.data(), n}, three);
      EXPECT_EQ(plain, tiled) << m << " x " << n << " x " << k;
    }
  }
}

TEST(Team, EveryPartRunsOnceACall) {
  Team team(4);
  std::vector<int> calls(4);
  for (int repeat = 0; repeat < 100; ++repeat) team.Run([&](int part) { ++calls[part]; });
  EXPECT_EQ(calls, std::vector<int>(4, 100));
}

TEST(Gemm, RowsDoNotDependOnTheirNeighbours) {
  // Equal rows give equal bits wherever they stand, so padding cannot change a result.
  const int64_t m = 90, n = 50, k = 40;
  auto a = Numbers(m * k, 9);
  const auto b = Bf16Numbers(n * k, 10);
  const std::vector<uint16_t> narrow = Narrow(b);
  for (int64_t i = 1; i < m; ++i) std::copy_n(a.begin(), k, a.begin() + i * k);
  const Product wide = {{a.data(), k, 1}, {b.data(), n, 1}, k};
  for (const Product& product : {wide, Product{wide.a, {nullptr, n, 1}, k, narrow.data()},
                                 Product{wide.a, wide.b, k, nullptr, true}}) {
    std::vector<float> c(m * n);
    Workspace workspace;
    kernels::Gemm({m, n, {&product, 1}, c.data(), n}, workspace);
    for (int64_t i = 1; i < m; ++i) {
      EXPECT_TRUE(std::equal(c.begin(), c.begin() + n, c.begin() + i * n)) << i;
    }
  }
}

}  // namespace
}  // namespace rivulet::kernels
