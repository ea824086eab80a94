#include "common/formats/tensorboard.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/io/crc32c.h"
#include "common/io/file.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

std::string FromHex(std::string_view hex) {
  std::string bytes;
  for (size_t at = 0; at + 1 < hex.size(); at += 3)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(at, 2)), nullptr, 16));
  return bytes;
}

// RFC 3720 B.4 and docs/formats/tensorboard.md.
TEST(Crc32c, GivesTheKnownValues) {
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c(std::string("\x1a\0\0\0\0\0\0\0", 8)), 0xd81d45aau);
}

// Bytes that TensorBoard 2.21 wrote and read.
TEST(EventRecords, AreTheGoldenBytes) {
  EXPECT_EQ(VersionRecord(1700000000.0),
            FromHex("1a 00 00 00 00 00 00 00 12 9b d8 2d 09 00 00 00 40 fc 54 d9 41 10 00 1a 0d 62 "
                    "72 61 69 6e 2e 45 76 65 6e 74 3a 32 e6 77 3e 1a"));
  EXPECT_EQ(ScalarRecord({1700000001.0, 1, "loss/train", 1.0f}),
            FromHex("20 00 00 00 00 00 00 00 29 ed a9 50 09 00 00 40 40 fc 54 d9 41 10 01 2a 13 0a "
                    "11 0a 0a 6c 6f 73 73 2f 74 72 61 69 6e 15 00 00 80 3f 9a 00 71 13"));
}

TEST(EventWriter, AppendsAtEachFlushAndTheFileReadsBack) {
  const auto dir = Scratch() / "events" / "train";
  EventWriter writer = *EventWriter::Create(dir, 1700000000.25);
  EXPECT_TRUE(writer.path().filename().string().starts_with("events.out.tfevents.1700000000."));
  EXPECT_EQ(*ReadFile(writer.path(), 1 << 20), VersionRecord(1700000000.25));
  const ScalarEvent first = {1700000001.5, 300, "train/loss", 2.5f};
  const ScalarEvent second = {1700000002.5, 301, "train/loss", -INFINITY};
  writer.Add(first);
  EXPECT_TRUE(ParseEvents(*ReadFile(writer.path(), 1 << 20))->empty());
  ASSERT_TRUE(writer.Flush().ok());
  EventWriter moved = std::move(writer);
  moved.Add(second);
  ASSERT_TRUE(moved.Flush().ok());
  EXPECT_EQ(*ParseEvents(*ReadFile(moved.path(), 1 << 20)),
            (std::vector<ScalarEvent>{first, second}));
  EXPECT_NE(EventWriter::Create(dir, 1700000000.25)->path(), moved.path());
}

TEST(ParseEvents, NoTruncationAndNoFlippedBitPasses) {
  const std::string file = VersionRecord(1) + ScalarRecord({2, 3, "tag", 4});
  const size_t first = VersionRecord(1).size();
  for (size_t size = 1; size < file.size(); ++size)
    EXPECT_EQ(ParseEvents(file.substr(0, size)).ok(), size == first) << size;
  for (size_t at = 0; at < file.size(); ++at) {
    std::string damaged = file;
    damaged[at] ^= 0x10;
    EXPECT_FALSE(ParseEvents(damaged).ok()) << at;
  }
}

}  // namespace
}  // namespace rivulet
