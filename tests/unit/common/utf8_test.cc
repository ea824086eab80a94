#include "common/utf8.h"

#include <gtest/gtest.h>

namespace rivulet {
namespace {

TEST(Tidy, KeepsWholeCharactersWithinTheLimit) {
  EXPECT_EQ(Tidy("caf\xc3\xa9", 5), "caf\xc3\xa9");
  EXPECT_EQ(Tidy("caf\xc3\xa9", 4), "caf");
  EXPECT_EQ(Tidy("\xf0\x9f\x8c\x8a", 3), "");
  EXPECT_EQ(Tidy("abc", 0), "");
}

TEST(Tidy, TakesNoOrderToTheTerminalThrough) {
  EXPECT_EQ(Tidy("a\x1b[31mb\r\n\x7f", 100), "a [31mb   ");
  EXPECT_EQ(Tidy("a\xc2\x9b"
                 "31m",
                 100),
            "a 31m");                                // CSI of C1
  EXPECT_EQ(Tidy("a\xc2\xa0z", 100), "a\xc2\xa0z");  // the first that is none
}

TEST(Tidy, IsUtf8WhateverCameIn) {
  EXPECT_EQ(Tidy("a\xff\xc3", 100), "a??");
  std::string bytes;
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      bytes += static_cast<char>(first);
      bytes += static_cast<char>(second);
    }
  }
  for (const size_t limit : {size_t{1}, size_t{1000}, size_t{1001}, bytes.size()}) {
    const std::string tidy = Tidy(bytes, limit);
    EXPECT_TRUE(IsUtf8(tidy));
    EXPECT_LE(tidy.size(), limit);
  }
}

}  // namespace
}  // namespace rivulet
