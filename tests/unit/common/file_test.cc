#include "common/io/file.h"

#include <gtest/gtest.h>

#include "common/io/atomic_file.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

TEST(File, WriteThenReadGivesTheSameBytesAndLeavesNoTemporary) {
  const auto path = ScratchFolder() / "a.bin";
  const std::string bytes("x\0y", 3);
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  EXPECT_EQ(*ReadFile(path, 3), bytes);
  EXPECT_EQ(HexOf(*Sha256OfFile(path)), Sha256Hex(bytes));
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path.parent_path()))
    ++files;
  EXPECT_EQ(files, 1u);
}

TEST(AtomicFile, AppearsOnlyWhenCommittedAndLeavesNothingWhenDropped) {
  const auto path = ScratchFolder() / "pieces.bin";
  {
    AtomicFile file = *AtomicFile::Create(path);
    ASSERT_TRUE(file.Append("lost").ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(path.parent_path()));
  AtomicFile file = *AtomicFile::Create(path);
  ASSERT_TRUE(file.Append("one").ok());
  ASSERT_TRUE(file.Append(" two").ok());
  EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_TRUE(file.Commit().ok());
  EXPECT_EQ(*ReadFile(path, 100), "one two");
}

TEST(File, LimitAndAbsenceAreTypedErrors) {
  const auto path = ScratchFolder() / "a.bin";
  ASSERT_TRUE(WriteFileAtomically(path, "four").ok());
  EXPECT_EQ(ReadFile(path, 3).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ReadFile(ScratchFolder() / "absent", 3).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadFile(path.parent_path(), 3).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(WriteFileAtomically(ScratchFolder() / "no/such/dir", "x").code(),
            absl::StatusCode::kNotFound);
}

TEST(File, MappingShowsTheBytesAndSurvivesAMove) {
  const auto path = ScratchFolder() / "m.bin";
  ASSERT_TRUE(WriteFileAtomically(path, "mapped").ok());
  MappedFile first = *MappedFile::Open(path);
  const MappedFile second = std::move(first);
  EXPECT_EQ(second.bytes().size(), 6u);
  EXPECT_EQ(static_cast<char>(second.bytes()[5]), 'd');
  EXPECT_TRUE(first.bytes().empty());
}

}  // namespace
}  // namespace rivulet
