#include "client/upload/secret_rounding.h"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

namespace rivulet {
namespace {

std::vector<uint32_t> Words(RoundingSource& source, size_t count) {
  std::vector<uint32_t> words(count);
  source.Fill(words);
  return words;
}

TEST(SecretRounding, NoTwoSourcesAndNoTwoCallsGiveTheSame) {
  const auto one = NewSecretRounding(), other = NewSecretRounding();
  const std::vector<uint32_t> first = Words(*one, 8);
  EXPECT_NE(first, Words(*one, 8));
  EXPECT_NE(first, Words(*other, 8));
}

// 3.2e6 fair bits: a deviation of 0.0028 is ten standard errors.
TEST(SecretRounding, HalfOfTheBitsAreSet) {
  const auto source = NewSecretRounding();
  size_t set = 0;
  for (const uint32_t word : Words(*source, 100000)) set += std::popcount(word);
  EXPECT_NEAR(static_cast<double>(set) / 3.2e6, 0.5, 0.0028);
}

}  // namespace
}  // namespace rivulet
