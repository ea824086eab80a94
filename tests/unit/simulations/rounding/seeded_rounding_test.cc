#include "simulations/rounding/seeded_rounding.h"

#include <gtest/gtest.h>

#include <vector>

namespace rivulet {
namespace {

std::vector<uint32_t> Words(RoundingSource& source, size_t count) {
  std::vector<uint32_t> words(count);
  source.Fill(words);
  return words;
}

TEST(SeededRounding, IsAFunctionOfSeedUploadAndPosition) {
  const RoundingMaker make = SeededRounding();
  const UploadKey upload{"j", "ann", 3, 1};
  const std::vector<uint32_t> words = Words(*make(upload, 7), 9);
  const auto again = make(upload, 7);
  std::vector<uint32_t> pieces = Words(*again, 2);
  for (const uint32_t word : Words(*again, 7)) pieces.push_back(word);
  EXPECT_EQ(words, pieces);
  EXPECT_NE(words, Words(*make(upload, 8), 9));
  EXPECT_NE(words, Words(*make({"j", "bob", 3, 1}, 7), 9));
  EXPECT_NE(words, Words(*make({"j", "ann", 4, 1}, 7), 9));
  EXPECT_NE(words, Words(*make({"j", "ann", 3, 2}, 7), 9));
}

}  // namespace
}  // namespace rivulet
