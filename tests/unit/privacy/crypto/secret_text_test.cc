#include "privacy/crypto/secret_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace rivulet {
namespace {

const std::string kText = "thirty-two bytes that none may see";

bool IsZero(const char* bytes, size_t count) {
  return std::all_of(bytes, bytes + count, [](char byte) { return byte == 0; });
}

// A cleared text keeps its buffer: what it held can be looked for there.
TEST(SecretText, WipingLeavesNothingInItsBuffer) {
  SecretText secret(kText);
  const char* const buffer = secret.view().data();
  ASSERT_EQ(std::string(buffer, kText.size()), kText);
  secret.Wipe();
  EXPECT_TRUE(secret.empty());
  EXPECT_TRUE(IsZero(buffer, kText.size()));
}

TEST(SecretText, WhatIsReplacedIsWiped) {
  SecretText secret(kText);
  const char* const buffer = secret.view().data();
  SecretText moved_over(kText);
  const SecretText shorter("short");
  secret = shorter;
  EXPECT_EQ(secret.view(), "short");
  EXPECT_TRUE(IsZero(buffer + 6, kText.size() - 6));
  const char* const other = moved_over.view().data();
  moved_over = std::move(secret);
  EXPECT_EQ(moved_over.view(), "short");
  EXPECT_TRUE(secret.empty());
  EXPECT_TRUE(IsZero(other, kText.size()));
}

TEST(SecretText, AMovedOneIsEmptyAndTheOtherHasIt) {
  SecretText from(kText);
  const SecretText to(std::move(from));
  EXPECT_TRUE(from.empty());
  EXPECT_EQ(to.view(), kText);
  EXPECT_EQ(SecretText(to), to);
}

}  // namespace
}  // namespace rivulet
