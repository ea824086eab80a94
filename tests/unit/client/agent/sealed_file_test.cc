#include "client/agent/sealed_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "common/io/file.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMost = 1 << 20;

class SealedFileTest : public testing::Test {
 protected:
  const fs::path folder_ = ScratchFolder();
  const SealedFile sealed_{folder_ / "text", folder_ / "key"};
};

TEST_F(SealedFileTest, TheLastTextComesBackAndIsNotOnTheDisk) {
  for (const std::string text : {"", "a secret share", "a secret share that is longer"}) {
    ASSERT_TRUE(sealed_.Write(text).ok());
    EXPECT_EQ(*sealed_.Read(kMost), text);
    const std::string bytes = *ReadFile(sealed_.file, kMost);
    EXPECT_EQ(bytes.size(), 12 + text.size() + 16);
    EXPECT_EQ(bytes.find("secret"), std::string::npos);
  }
  struct stat info {};
  for (const fs::path& path : {sealed_.file, sealed_.key}) {
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0077, 0u);
  }
}

TEST_F(SealedFileTest, NoTwoTextsHaveOneIv) {
  ASSERT_TRUE(sealed_.Write("text").ok());
  const std::string first = *ReadFile(sealed_.file, kMost);
  ASSERT_TRUE(sealed_.Write("text").ok());
  EXPECT_NE(ReadFile(sealed_.file, kMost)->substr(0, 12), first.substr(0, 12));  // 2^-96
}

// Whoever keeps the file, or finds its blocks, has nothing; nor is anything left of the key.
TEST_F(SealedFileTest, ADestroyedTextCannotBeReadFromACopyOfTheFile) {
  ASSERT_TRUE(sealed_.Write("text").ok());
  fs::copy_file(sealed_.file, folder_ / "copy");
  fs::create_hard_link(sealed_.key, folder_ / "blocks of the key");
  ASSERT_TRUE(sealed_.Destroy().ok());
  EXPECT_FALSE(fs::exists(sealed_.file));
  EXPECT_FALSE(fs::exists(sealed_.key));
  EXPECT_EQ(*ReadFile(folder_ / "blocks of the key", kMost), std::string(32, '\0'));
  fs::rename(folder_ / "copy", sealed_.file);
  EXPECT_EQ(sealed_.Read(kMost).status().code(), absl::StatusCode::kNotFound);
  fs::rename(folder_ / "blocks of the key", sealed_.key);  // a crash before it was removed
  EXPECT_EQ(sealed_.Read(kMost).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(sealed_.Write("another").ok());  // under a new key
  EXPECT_NE(*ReadFile(sealed_.key, kMost), std::string(32, '\0'));
  EXPECT_EQ(*sealed_.Read(kMost), "another");
  ASSERT_TRUE(sealed_.Destroy().ok());
  EXPECT_TRUE(sealed_.Destroy().ok());  // there is nothing to do
}

TEST_F(SealedFileTest, ChangedCutOffOrRenamedBytesAreRefused) {
  ASSERT_TRUE(sealed_.Write("text").ok());
  const std::string bytes = *ReadFile(sealed_.file, kMost);
  for (const size_t at : {size_t{0}, size_t{12}, bytes.size() - 1}) {
    std::string changed = bytes;
    changed[at] ^= 1;
    std::ofstream(sealed_.file) << changed;
    EXPECT_EQ(sealed_.Read(kMost).status().code(), absl::StatusCode::kInvalidArgument) << at;
  }
  for (const size_t size : {size_t{0}, size_t{11}, size_t{20}}) {
    std::ofstream(sealed_.file) << bytes.substr(0, size);
    EXPECT_EQ(sealed_.Read(kMost).status().code(), absl::StatusCode::kInvalidArgument) << size;
  }
  std::ofstream(folder_ / "other") << bytes;
  const SealedFile other{folder_ / "other", sealed_.key};
  EXPECT_EQ(other.Read(kMost).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rivulet
