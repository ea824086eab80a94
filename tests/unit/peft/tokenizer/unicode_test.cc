#include "peft/tokenizer/unicode.h"

#include <gtest/gtest.h>

#include "common/utf8.h"
#include "peft/tokenizer/normalizer.h"
#include "peft/tokenizer/unicode8_tables.h"

namespace rivulet {
namespace {

// The Unicode Standard, table 3-8 ("U+FFFD for ill-formed sequences, maximal subparts").
TEST(Utf8, EachMaximalInvalidPartBecomesOneReplacement) {
  EXPECT_EQ(Utf8Lossy("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
  EXPECT_EQ(Utf8Lossy("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(Utf8Lossy("\xF4\x90"), "\uFFFD\uFFFD");            // above U+10FFFF
}

TEST(Utf8, TheFirstInvalidByteIsFound) {
  EXPECT_TRUE(IsUtf8("ab\u00e9\U0001F600"));
  EXPECT_EQ(FirstInvalidUtf8("ab\xC0\xAF"), 2u);
  EXPECT_EQ(FirstInvalidUtf8("ab\xE2\x82"), 2u);
  EXPECT_EQ(FirstInvalidUtf8("\xED\xBF\xBF"), 0u);
}

TEST(Utf8, EveryCodePointComesBack) {
  for (char32_t c = 1; c < 0x110000; c += c < 0x3000 ? 1 : 97) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text = "x";
    AppendCode(c, text);
    size_t position = 1;
    EXPECT_EQ(NextCode(text, position), c);
    EXPECT_EQ(position, text.size());
    EXPECT_EQ(CodeBefore(text, text.size()), c);
    EXPECT_TRUE(IsUtf8(text));
  }
}

TEST(Strip, TakesUnicodeWhiteSpaceFromTheSidesAskedFor) {
  EXPECT_EQ(StripWhiteSpace("\u3000 a \u00a0", true, true), "a");
  EXPECT_EQ(StripWhiteSpace(" a ", true, false), "a ");
  EXPECT_EQ(StripWhiteSpace(" \n", true, true), "");
}

// Number of code points in each class, and members that moved after Unicode 8; from the reference
// tokenizer's own behaviour at every code point (tokenizers 0.23.3).
TEST(Unicode8, ClassesAreFrozen) {
  int format = 0, marks = 0, punctuation = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    format += IsFormat8(c);
    marks += IsNonspacingMark8(c);
    punctuation += IsBertPunctuation(c);
  }
  EXPECT_EQ(format, 150);
  EXPECT_EQ(marks, 1567);
  EXPECT_EQ(punctuation, 726);
  EXPECT_FALSE(IsFormat8(0x890));
  EXPECT_FALSE(IsFormat8(0x13430));
  EXPECT_TRUE(IsNonspacingMark8(0x1734));  // Mc today
  EXPECT_TRUE(IsBertPunctuation(0x166D));  // So today
  EXPECT_TRUE(IsBertPunctuation('$'));
}

std::string Normalized(const std::string& description, const std::string& text) {
  const Json json = Json::parse(description);
  const auto part = MakeNormalizer(&json);
  EXPECT_TRUE(part.ok()) << part.status();
  return *(*part)->Normalize(text);
}

TEST(BertNormalizer, CleansSpacesStripsAndLowers) {
  const std::string full = R"({"type": "BertNormalizer"})";
  EXPECT_EQ(Normalized(full, "A\tb\u00adc\uFFFD\u0001\u0378"), "a bc\u0378");  // Cn stays
  EXPECT_EQ(Normalized(full, "\u4e2dX"), " \u4e2d x");
  EXPECT_EQ(Normalized(full, "\u00c9\u0130"), "ei");
  EXPECT_EQ(Normalized(R"({"type": "BertNormalizer", "lowercase": false})", "\u00c9"), "\u00c9");
  EXPECT_EQ(Normalized(R"({"type": "BertNormalizer", "lowercase": false, "strip_accents": true})",
                       "\u00c9"),
            "E");
}

TEST(Normalizer, FormsCasesAndReplacements) {
  EXPECT_EQ(Normalized(R"({"type": "NFC"})", "e\u0301"), "\u00e9");
  EXPECT_EQ(Normalized(R"({"type": "NFKC"})", "\ufb01"), "fi");
  EXPECT_EQ(Normalized(R"({"type": "Lowercase"})", "\u0130\u03a3"), "i\u0307\u03c3");
  EXPECT_EQ(Normalized(R"({"type": "Prepend", "prepend": "x"})", ""), "");
  EXPECT_EQ(Normalized(R"x({"type": "Replace", "pattern": {"Regex": "(a)(b)"}, "content": "$1"})x",
                       "cabc"),
            "c$1c");
}

}  // namespace
}  // namespace rivulet
