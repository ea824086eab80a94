#include "common/formats/json.h"

#include <gtest/gtest.h>

namespace rivulet {
namespace {

TEST(Json, AcceptsAnOrdinaryDocument) {
  const auto document = ParseJson(R"({"a":[1,2.5,null,true],"b":{"a":"ü"}})");
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_EQ((*document)["b"]["a"], "ü");
}

TEST(Json, WhatOtherReadersLetPassIsRefused) {
  for (const std::string text :
       {R"({"a":1,"a":2})", R"({"a":{"b":1,"\u0062":2}})", "\xef\xbb\xbf{}", R"({}/* c */)",
        R"({"a":1,})", R"({"a":NaN})", R"({'a':1})", "{} {}", "", "{\"a\":\"\xff\"}",
        R"({"a":"\ud800"})", R"({"a":01})"}) {
    EXPECT_EQ(ParseJson(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_EQ(ParseJson(std::string("{}\0{}", 5)).status().message(),
            "JSON: got a NUL byte, want none");
}

TEST(Json, TheRepeatedKeyIsNamed) {
  EXPECT_EQ(ParseJson(R"({"a":1,"a":2})").status().message(),
            "key 'a': got it twice in one object, want it once");
}

TEST(Json, DepthAndSizeAreBounded) {
  const std::string bomb = std::string(1'000'000, '[');
  EXPECT_EQ(ParseJson(bomb).status().message(), "JSON: nested deeper than 16");
  EXPECT_TRUE(ParseJson("[[1]]", {.bytes = 5, .depth = 2}).ok());
  EXPECT_EQ(ParseJson("[[1]] ", {.bytes = 5}).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_FALSE(ParseJson("[[1]]", {.depth = 1}).ok());
  EXPECT_TRUE(ParseJson("[[1]]", {.values = 3}).ok());
  EXPECT_EQ(ParseJson("[[1,2]]", {.values = 3}).status().message(), "JSON: got more than 3 values");
}

// Unicode 15, table 3-7: first and last of each row, and their neighbours.
TEST(Utf8, EveryBoundaryOfTheTableIsKept) {
  for (const char* good : {"a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                           "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(IsUtf8(good));
  for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80",
                          "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82"})
    EXPECT_FALSE(IsUtf8(bad));
  EXPECT_EQ(FirstInvalidUtf8("ab\xff"), 2u);
}

TEST(QuoteJson, EscapesAsTheReferenceDoes) {
  EXPECT_EQ(QuoteJson("\"\\\b\t\n\f\r\x01\x1f\x7f/ü"),
            "\"\\\"\\\\\\b\\t\\n\\f\\r\\u0001\\u001f\x7f/ü\"");
}

}  // namespace
}  // namespace rivulet
