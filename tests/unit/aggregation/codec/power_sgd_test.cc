// PowerSGD over two sums beside the algorithm itself, written down in a few lines of binary64.
#include <algorithm>
#include <cmath>

#include "aggregation/codec/linear.h"
#include "aggregation/codec/low_rank_parts.h"
#include "tests/unit/aggregation/codec/codec_fixtures.h"

namespace rivulet {
namespace {

constexpr uint64_t kRoot = 4, kIndex = 7;
constexpr size_t kRows = 30, kColumns = 20, kRank = 3;

// One matrix, and a vector that travels as it is.
const Manifest& Both() {
  static const Manifest manifest = {{"a", DType::kF32, {kRows, kColumns}},
                                    {"b", DType::kF32, {11}}};
  return manifest;
}
const size_t kNumbers = kRows * kColumns + 11;

using Vector = std::vector<double>;
using Vectors = std::vector<Vector>;  // of clients; or the columns of a factor

Vector RandomVector(size_t size, uint64_t seed) {
  std::vector<float> values(size);
  RandomStream(seed, Purpose::kDirection, 0).FillGauss(0, values);
  return {values.begin(), values.end()};
}

Vectors Updates(uint64_t clients) {
  Vectors updates;
  for (uint64_t client = 0; client < clients; ++client) {
    updates.push_back(RandomVector(kNumbers, client));
  }
  return updates;
}

Vector MeanOf(const Vectors& vectors) {
  Vector mean(vectors[0].size());
  for (const Vector& one : vectors) {
    for (size_t at = 0; at < mean.size(); ++at) mean[at] += one[at] / vectors.size();
  }
  return mean;
}

double Inner(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t at = 0; at < a.size(); ++at) sum += a[at] * b[at];
  return sum;
}

// Columns of Q.
Vectors Start() {
  const LowRankPart part = LowRankPartsOf(Both(), kRank)[0];
  const std::vector<float> rows = PublicFactor(part, 0, kRoot, kIndex);
  Vectors q;
  for (size_t each = 0; each < kRank; ++each) {
    q.emplace_back(rows.begin() + each * kColumns, rows.begin() + (each + 1) * kColumns);
  }
  return q;
}

// M q and M^T p, M the first numbers of `x`.
Vector Times(const Vector& x, const Vector& q) {
  Vector out(kRows);
  for (size_t at = 0; at < kRows * kColumns; ++at) out[at / kColumns] += x[at] * q[at % kColumns];
  return out;
}
Vector TransposedTimes(const Vector& x, const Vector& p) {
  Vector out(kColumns);
  for (size_t at = 0; at < kRows * kColumns; ++at) out[at % kColumns] += x[at] * p[at / kColumns];
  return out;
}

// Vogels et al. 2019, algorithm 1: P = orthonormalise(M Q), Q' = M^T P, M^ = P Q'^T.
Vector PowerSgd(const Vector& mean) {
  Vectors p;
  Vector out = mean;
  std::fill_n(out.begin(), kRows * kColumns, 0);
  for (const Vector& q : Start()) {
    Vector column = Times(mean, q);
    for (const Vector& other : p) {
      const double part = Inner(column, other);
      for (size_t at = 0; at < kRows; ++at) column[at] -= part * other[at];
    }
    const double norm = std::sqrt(Inner(column, column));
    for (double& value : column) value /= norm;
    const Vector right = TransposedTimes(mean, column);
    for (size_t at = 0; at < kRows * kColumns; ++at) {
      out[at] += column[at / kColumns] * right[at % kColumns];
    }
    p.push_back(std::move(column));
  }
  return out;
}

std::vector<float> Single(const Vector& values) { return {values.begin(), values.end()}; }

std::vector<float> Projected(const LinearStage& stage, const Vector& x) {
  std::vector<float> out(stage.OutputSize(kNumbers));
  stage.Project(Single(x), out);
  return out;
}

std::vector<float> SumMean(const LinearStage& stage, const Vectors& clients) {
  Vectors parts;
  for (const Vector& one : clients) {
    const std::vector<float> part = Projected(stage, one);
    parts.emplace_back(part.begin(), part.end());
  }
  return Single(MeanOf(parts));
}

// What the coordinator makes of the two sums.
Vector TwoPasses(const Vectors& first, const Vectors& second) {
  const auto left = NewPowerSgdFirst(Both(), kRank, kRoot, kIndex);
  const std::vector<float> mean = SumMean(*left, first);
  const auto right = *NewPowerSgdSecond(Both(), kRank, kRoot, kIndex, mean);
  std::vector<float> out(kNumbers);
  right->Expand(SumMean(*right, second), out);
  const auto part = *PowerSgdFirstPart(Both(), kRank, kRoot, kIndex, mean, mean);
  Vector sum(out.begin(), out.end());
  for (size_t at = 0; at < kNumbers; ++at) sum[at] += part[at];
  return sum;
}

double LargestError(const Vector& got, const Vector& want) {
  double most = 0;
  for (size_t at = 0; at < got.size(); ++at) most = std::max(most, std::abs(got[at] - want[at]));
  return most;
}

TEST(PowerSgd, TheMeanOfTwoPassesIsThatOfTheAlgorithm) {
  const Vectors clients = Updates(5);
  const Vector want = PowerSgd(MeanOf(clients));
  EXPECT_LT(LargestError(TwoPasses(clients, clients), want), 5e-6);
  EXPECT_GT(LargestError(MeanOf(clients), want), 0.5);  // which is no mean of all numbers
}

TEST(PowerSgd, MatricesOfThatRankAreRecovered) {
  Vectors clients;
  const Vector u = RandomVector(kRank * kRows, 1);
  for (uint64_t client = 0; client < 4; ++client) {
    const Vector v = RandomVector(kRank * kColumns, 2 + client);
    Vector x = RandomVector(kNumbers, 9 + client);
    std::fill_n(x.begin(), kRows * kColumns, 0);
    for (size_t each = 0; each < kRank; ++each) {
      for (size_t at = 0; at < kRows * kColumns; ++at) {
        x[at] += u[each * kRows + at / kColumns] * v[each * kColumns + at % kColumns];
      }
    }
    clients.push_back(std::move(x));
  }
  EXPECT_LT(LargestError(TwoPasses(clients, clients), MeanOf(clients)), 2e-5);
}

// P^ P^^T (M1 Q Q^T + M2 (1 - Q Q^T)): every part is a mean of those who are in its sum.
TEST(PowerSgd, SurvivorsMayDifferBetweenThePasses) {
  const Vectors clients = Updates(5), rest(clients.begin(), clients.begin() + 4);
  const Vector first = MeanOf(clients), second = MeanOf(rest);
  Vector mixed = second;
  for (const Vector& q : Start()) {
    const Vector one = Times(first, q), other = Times(second, q);
    for (size_t at = 0; at < kRows * kColumns; ++at) {
      mixed[at] += (one[at / kColumns] - other[at / kColumns]) * q[at % kColumns];
    }
  }
  // M1 Q is that of `mixed` too, so that the algorithm has the same P^.
  EXPECT_LT(LargestError(TwoPasses(clients, rest), PowerSgd(mixed)), 5e-6);
}

// Else the sums of clients that are in one of them alone would say what R^T Q = P^^T M Q is.
TEST(PowerSgd, TheSecondPassSumsNothingThatTheFirstHasSummed) {
  const Vectors clients = Updates(3);
  const auto left = NewPowerSgdFirst(Both(), kRank, kRoot, kIndex);
  const auto right = *NewPowerSgdSecond(Both(), kRank, kRoot, kIndex, SumMean(*left, clients));
  const std::vector<float> r = Projected(*right, clients[0]);
  for (size_t each = 0; each < kRank; ++each) {
    const Vector row(r.begin() + each * kColumns, r.begin() + (each + 1) * kColumns);
    EXPECT_GT(std::sqrt(Inner(row, row)), 1);
    for (const Vector& q : Start()) EXPECT_NEAR(Inner(row, q), 0, 1e-5);
  }
}

// Error feedback: what the two passes send and what is left are the update.
TEST(PowerSgd, WhatIsLeftOfAnUpdateIsOrthogonalToWhatWasSent) {
  const Vectors clients = Updates(3);
  const auto left = NewPowerSgdFirst(Both(), kRank, kRoot, kIndex);
  const std::vector<float> mean = SumMean(*left, clients), own = Projected(*left, clients[0]);
  const auto right = *NewPowerSgdSecond(Both(), kRank, kRoot, kIndex, mean);
  std::vector<float> rest = Single(clients[0]), sent(kNumbers);
  const auto part = *PowerSgdFirstPart(Both(), kRank, kRoot, kIndex, mean, own);
  for (size_t at = 0; at < kNumbers; ++at) rest[at] -= part[at];
  std::vector<float> r(right->OutputSize(kNumbers)), again(r.size());
  right->Project(rest, r);
  right->Expand(r, sent);
  for (size_t at = 0; at < kNumbers; ++at) rest[at] -= sent[at];
  const Vector left_over(rest.begin(), rest.end());
  right->Project(rest, again);
  EXPECT_LT(LargestError(Vector(again.begin(), again.end()), Vector(again.size())), 2e-5);
  double square = 0;
  for (size_t at = 0; at < kRows * kColumns; ++at) square += left_over[at] * left_over[at];
  EXPECT_GT(square, 0.5 * kRows * kColumns);
  for (size_t at = kRows * kColumns; at < kNumbers; ++at) EXPECT_EQ(rest[at], 0);
}

TEST(PowerSgd, AMeanOfZerosOrOfOneColumnMovesWhatItHas) {
  Vectors zeros(3, Vector(kNumbers));
  EXPECT_EQ(LargestError(TwoPasses(zeros, zeros), zeros[0]), 0);
  const Vectors clients = Updates(3);
  const Vector got = TwoPasses(zeros, clients);  // nothing of the matrix, for want of a P^
  EXPECT_EQ(
      LargestError(Vector(got.begin(), got.begin() + kRows * kColumns), Vector(kRows * kColumns)),
      0);
  Vectors lone(2, Vector(kNumbers));
  for (size_t row = 0; row < kRows; ++row) lone[0][row * kColumns + 2] = 1 + row;  // rank 1
  EXPECT_LT(LargestError(TwoPasses(lone, lone), MeanOf(lone)), 2e-5);
}

TEST(PowerSgd, ABadMeanOfTheFirstPassIsRefused) {
  std::vector<float> mean(kRank * kRows, 1);
  EXPECT_TRUE(NewPowerSgdSecond(Both(), kRank, kRoot, kIndex, mean).ok());
  EXPECT_FALSE(
      NewPowerSgdSecond(Both(), kRank, kRoot, kIndex, std::span(mean).first(mean.size() - 1)).ok());
  mean[5] = std::nanf("");
  const absl::Status status = NewPowerSgdSecond(Both(), kRank, kRoot, kIndex, mean).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("[5]"), std::string::npos) << status;
}

}  // namespace
}  // namespace rivulet
