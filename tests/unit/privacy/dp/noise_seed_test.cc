#include "privacy/dp/noise_seed.h"

#include <gtest/gtest.h>

#include <ostream>
#include <set>
#include <type_traits>

#include "common/io/sha256.h"

namespace rivulet {
namespace {

template <typename T>
concept Printable = requires(std::ostream& out, const T& value) {
  out << value;
};
template <typename T>
concept Comparable = requires(const T& a, const T& b) {
  a == b;
};

static_assert(!std::is_copy_constructible_v<NoiseSeed> && !std::is_copy_assignable_v<NoiseSeed>);
static_assert(!std::is_default_constructible_v<NoiseSeed>);  // no seed but from the generator
static_assert(!Printable<NoiseSeed> && !Comparable<NoiseSeed>);
static_assert(!std::is_copy_constructible_v<AesWords> && !Printable<AesWords>);

NoiseSeed SeedOf(char byte) { return *NoiseSeed::FromStored(std::string(32, byte)); }

// NIST SP 800-38A F.5.5 encrypts zero-padded blocks with a counter of its own; for a zero counter
// and key the first block is AES-256(0, 0) = dc95c078a2408989ad48a21492842087 (FIPS 197 KAT).
TEST(AesWords, AreTheKeystreamInLittleEndianWords) {
  const std::array<uint8_t, 32> key = {};
  AesWords words{AesWords::Key(key)};
  EXPECT_EQ(words.Next(), 0x898940a278c095dcu);
  EXPECT_EQ(words.Next(), 0x8720849214a248adu);
  EXPECT_EQ(words.consumed(), 2u);
}

TEST(AesWords, BlocksStartWhereTheCounterSays) {
  const std::array<uint8_t, 32> key = {1};
  AesWords first{AesWords::Key(key), 0}, second{AesWords::Key(key), 1};
  std::set<uint64_t> seen;
  for (int word = 0; word < 2000; ++word) seen.insert({first.Next(), second.Next()});
  EXPECT_EQ(seen.size(), 4000u);  // a repetition by chance: 4e-13
}

TEST(NoiseSeed, GivesTheSameStreamAgainAndOthersForOtherPurposes) {
  const NoiseSeed seed = SeedOf('a'), again = SeedOf('a'), other = SeedOf('b');
  const uint64_t word = seed.Words("data", 3).Next();
  EXPECT_EQ(word, again.Words("data", 3).Next());
  EXPECT_NE(word, again.Words("data", 4).Next());
  EXPECT_NE(word, again.Words("share", 3).Next());
  EXPECT_NE(word, other.Words("data", 3).Next());
}

TEST(NoiseSeed, IsFreshEveryTime) {
  std::set<std::string> seen;
  for (int draw = 0; draw < 100; ++draw) seen.insert(NoiseSeed::Fresh().Commitment());
  EXPECT_EQ(seen.size(), 100u);
}

TEST(NoiseSeed, TheCommitmentBindsAndDoesNotReveal) {
  const NoiseSeed seed = SeedOf('a');
  EXPECT_EQ(seed.Commitment(),
            Sha256Hex(std::string("rvl1/noise-commitment") + '\0' + std::string(32, 'a')));
  EXPECT_NE(seed.Commitment(), SeedOf('b').Commitment());
  EXPECT_EQ(seed.Commitment().find(HexOf(std::vector<uint8_t>(32, 'a'))), std::string::npos);
}

TEST(NoiseSeed, AMovedSeedLeavesNothing) {
  NoiseSeed seed = SeedOf('a');
  const NoiseSeed moved = std::move(seed);
  EXPECT_EQ(moved.SecretForStorage(), std::string(32, 'a'));
  EXPECT_EQ(seed.SecretForStorage(), std::string(32, '\0'));  // NOLINT: looked at on purpose
}

TEST(NoiseSeed, OtherSizesAreRefused) {
  EXPECT_FALSE(NoiseSeed::FromStored("").ok());
  EXPECT_FALSE(NoiseSeed::FromStored(std::string(31, 'a')).ok());
  EXPECT_FALSE(NoiseSeed::FromStored(std::string(33, 'a')).ok());
}

}  // namespace
}  // namespace rivulet
