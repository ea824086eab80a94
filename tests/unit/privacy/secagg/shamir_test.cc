#include "privacy/secagg/shared/shamir.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "common/io/sha256.h"
#include "privacy/secagg/shared/gf16.h"
#include "tests/unit/in_child.h"
#include "tests/unit/privacy/chi_square.h"
#include "tests/unit/privacy/kat.h"
#include "tests/unit/privacy/seeded_entropy.h"

namespace rivulet::secagg {
namespace {

// Powers of the generator 3 by shift and reduction, and their logarithms: a second way to multiply.
struct Logarithms {
  std::vector<uint16_t> power = std::vector<uint16_t>(65535);
  std::vector<uint32_t> log = std::vector<uint32_t>(65536);

  Logarithms() {
    uint32_t at = 1;
    for (uint32_t exponent = 0; exponent < 65535; ++exponent) {
      power[exponent] = static_cast<uint16_t>(at);
      log[at] = exponent;
      at ^= at << 1;
      if (at >> 16) at ^= gf16::kPolynomial;
    }
  }
  uint16_t Mul(uint16_t a, uint16_t b) const {
    return a == 0 || b == 0 ? 0 : power[(log[a] + log[b]) % 65535];
  }
};

TEST(Gf16, MatchesTheKnownAnswers) {
  const auto& kat = SecaggKat()["field"];
  for (const auto& each : kat["mul"]) {
    EXPECT_EQ(gf16::Mul(each["a"].get<int>(), each["b"].get<int>()), each["ab"]);
  }
  for (const auto& each : kat["inv"]) EXPECT_EQ(gf16::Inverse(each["a"].get<int>()), each["inv"]);
}

TEST(Gf16, EqualsMultiplicationByLogarithms) {
  const Logarithms reference;
  // 3 generates the group: all its powers are different, so the logarithms are well defined.
  std::vector<uint16_t> sorted = reference.power;
  std::sort(sorted.begin(), sorted.end());
  ASSERT_EQ(std::adjacent_find(sorted.begin(), sorted.end()), sorted.end());
  std::mt19937 random(1);
  for (int repeat = 0; repeat < 100000; ++repeat) {
    gf16::Lanes a, b;
    for (size_t lane = 0; lane < 16; ++lane) {
      a[lane] = static_cast<uint16_t>(random());
      b[lane] = static_cast<uint16_t>(random() >> (repeat % 17));
    }
    gf16::Lanes product = a;
    gf16::MulInto(product, b);
    const size_t one = static_cast<size_t>(repeat % 16);
    ASSERT_EQ(gf16::Mul(a[one], b[one]), reference.Mul(a[one], b[one]));
    for (size_t lane = 0; lane < 16; ++lane) {
      ASSERT_EQ(product[lane], reference.Mul(a[lane], b[lane])) << a[lane] << " " << b[lane];
    }
  }
}

TEST(Gf16, EveryElementHasItsInverse) {
  EXPECT_EQ(gf16::Inverse(0), 0);
  for (uint32_t a = 1; a < 65536; ++a) {
    ASSERT_EQ(gf16::Mul(static_cast<uint16_t>(a), gf16::Inverse(static_cast<uint16_t>(a))), 1) << a;
  }
  gf16::Lanes some{0, 1, 2, 3, 17, 400, 65535, 43690, 9, 10, 11, 12, 13, 14, 15, 16};
  const gf16::Lanes inverses = gf16::InverseOf(some);
  for (size_t lane = 0; lane < 16; ++lane) EXPECT_EQ(inverses[lane], gf16::Inverse(some[lane]));
}

std::vector<Share> Chosen(const std::vector<Share>& shares, uint32_t subset) {
  std::vector<Share> chosen;
  for (size_t index = 0; index < shares.size(); ++index) {
    if (subset >> index & 1) chosen.push_back(shares[index]);
  }
  return chosen;
}

// Every subset of every sharing among up to 7: exactly those of `threshold` or more open it.
TEST(Shamir, EverySubsetOfEverySmallSharing) {
  SeededEntropy entropy(1);
  for (size_t holders = 1; holders <= 7; ++holders) {
    for (size_t threshold = 1; threshold <= holders; ++threshold) {
      const Secret32 secret = entropy.Secret();
      const std::vector<Share> shares = Split(secret, holders, threshold, entropy);
      ASSERT_EQ(shares.size(), holders);
      for (uint32_t subset = 1; subset < 1u << holders; ++subset) {
        std::vector<Share> chosen = Chosen(shares, subset);
        std::reverse(chosen.begin(), chosen.end());
        const auto opened = Combine(chosen, threshold);
        ASSERT_EQ(opened.ok(), chosen.size() >= threshold);
        if (opened.ok()) {
          ASSERT_EQ(*opened, secret);
          continue;
        }
        EXPECT_EQ(opened.status().code(), absl::StatusCode::kInvalidArgument);
        ASSERT_FALSE(*Combine(chosen, chosen.size()) == secret);  // as if fewer were enough
      }
    }
  }
}

TEST(Shamir, LargeSharingsOpen) {
  SeededEntropy entropy(2);
  for (const auto& [holders, threshold] :
       {std::pair<size_t, size_t>{64, 43}, {255, 163}, {377, 257}}) {
    const Secret32 secret = entropy.Secret();
    std::vector<Share> shares = Split(secret, holders, threshold, entropy);
    std::shuffle(shares.begin(), shares.end(), std::mt19937(3));
    EXPECT_EQ(*Combine(shares, threshold), secret);
  }
  const Secret32 secret = entropy.Secret();
  const std::vector<Share> shares = Split(secret, 65535, 2, entropy);
  EXPECT_EQ(shares.back().x, 65535);
  const std::vector<Share> ends = {shares.front(), shares.back()};
  EXPECT_EQ(*Combine(ends, 2), secret);
}

Bytes32 Material(const std::string& label, int u, int j) {
  return Sha256Of("rvl1-kat/" + label + "/" + std::to_string(u) + "/" + std::to_string(j));
}

// The known shares: coefficient of x^j of client u is a hash that the file tells.
TEST(Shamir, SharesAreTheKnownOnes) {
  const auto& kat = SecaggKat()["transcript"];
  for (int u = 0; u < 4; ++u) {
    for (const std::string kind : {"s", "b"}) {
      const std::string key = kind == "s" ? "s_sk" : "b";
      std::vector<Secret32> coefficients;
      for (int j = 1; j < 3; ++j) coefficients.emplace_back(Material("poly-" + kind, u, j));
      const std::vector<Share> shares =
          SplitWith(SecretFromHex(kat["clients"][u][key]), 4, coefficients);
      EXPECT_EQ(shares[u].x, u + 1);
      EXPECT_EQ(HexOf(shares[u].value), kat["shares"]["own_share_" + kind][u].get<std::string>());
      for (const auto& each : kat["shares"]["messages"]) {
        if (each["from"] != u) continue;
        const std::string plain = FromHex(each["plaintext"]);
        EXPECT_EQ(HexOf(shares[each["to"].get<size_t>()].value),
                  HexOf(BytesOf(plain.substr(kind == "s" ? 10 : 42, 32))));
      }
    }
  }
}

TEST(Shamir, HoldersAtZeroOrTwiceAreRefused) {
  SeededEntropy entropy(3);
  std::vector<Share> shares = Split(entropy.Secret(), 5, 3, entropy);
  shares[4].x = 0;
  EXPECT_EQ(Combine(shares, 3).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CombineWithErrors(shares, 3).status().code(), absl::StatusCode::kInvalidArgument);
  shares[4].x = 2;
  EXPECT_EQ(Combine(shares, 3).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Combine({}, 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(Reconstructor::Make({}).ok());
  EXPECT_FALSE(Reconstructor::Make({1, 0}).ok());
  EXPECT_FALSE(Reconstructor::Make({5, 6, 5}).ok());
}

TEST(Shamir, MistakesOfTheCallerEndTheProcess) {
  const auto ends = [](size_t holders, size_t threshold) {
    return InChild([=] {
      SeededEntropy entropy(4);
      return Split(Secret32(), holders, threshold, entropy).empty() ? 3 : 4;
    });
  };
  EXPECT_EQ(ends(3, 4), 128 + SIGABRT);
  EXPECT_EQ(ends(3, 0), 128 + SIGABRT);
  EXPECT_EQ(ends(65536, 2), 128 + SIGABRT);
}

TEST(Reconstructor, ServesManySecretsOfTheSameHolders) {
  SeededEntropy entropy(5);
  const auto reconstructor = Reconstructor::Make({2, 3, 7, 9});
  ASSERT_TRUE(reconstructor.ok());
  for (int repeat = 0; repeat < 5; ++repeat) {
    const Secret32 secret = entropy.Secret();
    const std::vector<Share> all = Split(secret, 9, 4, entropy);
    std::vector<Share> shares = {all[1], all[2], all[6], all[8]};
    EXPECT_EQ(*reconstructor->Combine(shares), secret);
    std::swap(shares[0], shares[1]);
    EXPECT_EQ(reconstructor->Combine(shares).status().code(), absl::StatusCode::kInvalidArgument);
    shares.pop_back();
    EXPECT_EQ(reconstructor->Combine(shares).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

// One share short, what the shares would give is uniform and not the secret. |z| > 6: 2e-9.
TEST(Shamir, OneShareShortTellsNothing) {
  SeededEntropy entropy(6);
  const Secret32 secret = entropy.Secret();
  std::vector<uint64_t> low(256), high(256);
  for (int repeat = 0; repeat < 20000; ++repeat) {
    std::vector<Share> shares = Split(secret, 5, 4, entropy);
    shares.resize(3);
    const auto candidate = Combine(shares, 3);
    ASSERT_FALSE(*candidate == secret);
    ++low[candidate->bytes()[0]];
    ++high[candidate->bytes()[31]];
  }
  EXPECT_LT(std::abs(UniformityZ(low)), 6);
  EXPECT_LT(std::abs(UniformityZ(high)), 6);
}

std::vector<uint16_t> Spoil(std::vector<Share>& shares, uint32_t subset, std::mt19937& random) {
  std::vector<uint16_t> spoiled;
  for (size_t index = 0; index < shares.size(); ++index) {
    if (!(subset >> index & 1)) continue;
    spoiled.push_back(shares[index].x);
    // One element, or all: the locator must be found from either.
    if (random() % 2) {
      shares[index].value[random() % 32] ^= static_cast<uint8_t>(1 + random() % 255);
    } else {
      for (uint8_t& byte : shares[index].value) byte ^= static_cast<uint8_t>(random() | 1);
    }
  }
  return spoiled;
}

// Every set of wrong shares among 9 with threshold 3: up to 3 wrong ones are corrected and named;
// more are never taken for a sharing that fits.
TEST(CombineWithErrors, EverySetOfWrongShares) {
  SeededEntropy entropy(7);
  std::mt19937 random(8);
  for (uint32_t subset = 0; subset < 1u << 9; ++subset) {
    const Secret32 secret = entropy.Secret();
    std::vector<Share> shares = Split(secret, 9, 3, entropy);
    const std::vector<uint16_t> spoiled = Spoil(shares, subset, random);
    const auto corrected = CombineWithErrors(shares, 3);
    if (spoiled.size() <= 3) {
      ASSERT_TRUE(corrected.ok()) << corrected.status();
      ASSERT_EQ(corrected->secret, secret);
      ASSERT_EQ(corrected->faulty_x, spoiled);
    } else {
      ASSERT_EQ(corrected.status().code(), absl::StatusCode::kDataLoss) << subset;
    }
  }
}

TEST(CombineWithErrors, AtEveryRedundancy) {
  SeededEntropy entropy(9);
  std::mt19937 random(10);
  for (size_t holders = 4; holders <= 16; ++holders) {
    const Secret32 secret = entropy.Secret();
    std::vector<Share> shares = Split(secret, holders, 4, entropy);
    const uint32_t correctable = static_cast<uint32_t>(holders - 4) / 2;
    const std::vector<uint16_t> spoiled = Spoil(shares, (1u << correctable) - 1, random);
    std::shuffle(shares.begin(), shares.end(), random);
    const auto corrected = CombineWithErrors(shares, 4);
    ASSERT_TRUE(corrected.ok()) << holders << corrected.status();
    EXPECT_EQ(corrected->secret, secret);
    EXPECT_EQ(corrected->faulty_x, spoiled);
  }
}

// Holders that agree on wrong shares (a second polynomial) still lose against the majority.
TEST(CombineWithErrors, ColludersAreNamed) {
  SeededEntropy entropy(11);
  const Secret32 secret = entropy.Secret();
  std::vector<Share> shares = Split(secret, 64, 43, entropy);
  const std::vector<Share> other = Split(entropy.Secret(), 64, 43, entropy);
  std::vector<uint16_t> colluders;
  for (size_t index = 3; index < 33; index += 3) {
    shares[index] = other[index];
    colluders.push_back(other[index].x);
  }
  ASSERT_EQ(colluders.size(), 10u);  // floor((64 - 43) / 2)
  const auto corrected = CombineWithErrors(shares, 43);
  ASSERT_TRUE(corrected.ok()) << corrected.status();
  EXPECT_EQ(corrected->secret, secret);
  EXPECT_EQ(corrected->faulty_x, colluders);
  shares[0] = other[0];
  EXPECT_EQ(CombineWithErrors(shares, 43).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace rivulet::secagg
