#include "peft/tokenizer/pre_tokenizer.h"

#include <gmock/gmock.h>

#include <fstream>

#include "peft/tokenizer/byte_level.h"
#include "peft/tokenizer/unicode.h"

namespace rivulet {
namespace {

using testing::ElementsAre;

std::vector<std::string> Pieces(const std::string& description, const std::string& text) {
  const Json json = Json::parse(description);
  const auto part = MakePreTokenizer(&json);
  EXPECT_TRUE(part.ok()) << part.status();
  std::vector<Piece> pieces = {{text, true}};
  EXPECT_TRUE((*part)->Split(pieces).ok());
  std::vector<std::string> out;
  for (const Piece& piece : pieces) out.push_back(piece.text);
  return out;
}

std::string Split(const std::string& pattern, const std::string& behavior) {
  return Json{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", behavior}}.dump();
}

// The reference's table of behaviours.
TEST(Split, HasFiveBehaviours) {
  const std::string text = "the-final--countdown";
  EXPECT_THAT(Pieces(Split("-", "Removed"), text), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(Pieces(Split("-", "Isolated"), text),
              ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(Pieces(Split("-", "MergedWithPrevious"), text),
              ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(Pieces(Split("-", "MergedWithNext"), text),
              ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(Pieces(Split("-", "Contiguous"), text),
              ElementsAre("the", "-", "final", "--", "countdown"));
}

// Pieces of the reference for the two published patterns.
constexpr char kLlama3[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

TEST(Split, CutsAsGpt2AndLlama3Do) {
  const std::string gpt2 = Split(std::string(kGpt2Pattern), "Isolated");
  const std::string llama3 = Split(kLlama3, "Isolated");
  EXPECT_THAT(Pieces(gpt2, "I'll can't WE'RE"),
              ElementsAre("I", "'ll", " can", "'t", " WE", "'", "RE"));
  EXPECT_THAT(Pieces(llama3, "I'll can't WE'RE"),
              ElementsAre("I", "'ll", " can", "'t", " WE", "'RE"));
  EXPECT_THAT(Pieces(gpt2, "1234567 3.14"), ElementsAre("1234567", " 3", ".", "14"));
  EXPECT_THAT(Pieces(llama3, "1234567 3.14"), ElementsAre("123", "456", "7", " ", "3", ".", "14"));
  EXPECT_THAT(Pieces(gpt2, "  two  spaces\n\n\ttab "),
              ElementsAre(" ", " two", " ", " spaces", "\n\n", "\t", "tab", " "));
  EXPECT_THAT(Pieces(llama3, "  two  spaces\n\n\ttab "),
              ElementsAre(" ", " two", " ", " spaces", "\n\n", "\ttab", " "));
}

// U+180E left White_Space in Unicode 6.3; PCRE2's own \s still takes it.
TEST(Split, WhiteSpaceIsUnicodesNotPcres) {
  EXPECT_THAT(Pieces(Split("\\s+", "Removed"), "a\u180eb\u0085c\u2003d"),
              ElementsAre("a\u180eb", "c", "d"));
  EXPECT_THAT(Pieces(Split("[^\\s]+", "Removed"), "a\u180eb c"), ElementsAre(" "));
  EXPECT_THAT(Pieces(Split("\\S+", "Removed"), "a\u180eb c"), ElementsAre(" "));
}

TEST(ByteLevel, PutsASpaceInFrontAndMapsBytes) {
  EXPECT_THAT(Pieces(R"({"type": "ByteLevel"})", "a \u00e9\n"),
              ElementsAre("\u0120a", "\u0120\u00c3\u00a9", "\u010a"));
  EXPECT_THAT(
      Pieces(R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})", "a b"),
      ElementsAre("a\u0120b"));
}

TEST(ByteLevel, EveryByteHasACharacterAndComesBack) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  const std::string codes = BytesToCodes(all);
  EXPECT_EQ(CountCodes(codes), 256u);
  EXPECT_EQ(CodesToBytes(codes), all);
  EXPECT_EQ(CodesToBytes("a\u3042"), "a\u3042");  // a character that stands for no byte
}

TEST(Metaspace, MarksSpacesByScheme) {
  EXPECT_THAT(Pieces(R"({"type": "Metaspace"})", "a  b"),
              ElementsAre("\u2581a", "\u2581", "\u2581b"));
  EXPECT_THAT(Pieces(R"({"type": "Metaspace", "prepend_scheme": "never", "split": false})", "a b"),
              ElementsAre("a\u2581b"));
  EXPECT_THAT(Pieces(R"({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
                        {"type": "Metaspace", "prepend_scheme": "first"}]})",
                     "a b"),
              ElementsAre("\u2581a", "b"));
}

TEST(Classes, DigitsPunctuationAndWords) {
  EXPECT_THAT(Pieces(R"({"type": "Digits"})", "a12\u00bd b"), ElementsAre("a", "12\u00bd", " b"));
  EXPECT_THAT(Pieces(R"({"type": "Digits", "individual_digits": true})", "a12"),
              ElementsAre("a", "1", "2"));
  EXPECT_THAT(Pieces(R"({"type": "Punctuation"})", "a$\u00bfb"),
              ElementsAre("a", "$", "\u00bf", "b"));
  // Joiners, marks and letter numbers are of a word; fractions are not.
  EXPECT_THAT(Pieces(R"({"type": "Whitespace"})", "a\u200db\u0301\u2163 \u00bd!?c"),
              ElementsAre("a\u200db\u0301\u2163", "\u00bd!?", "c"));
}

// Compared with the reference at every code point; U+2E43 and U+1F6F2.. are younger than Unicode 8.
TEST(Bert, PunctuationIsThatOfUnicode8) {
  EXPECT_THAT(Pieces(R"({"type": "BertPreTokenizer"})", "a\u2e42b\u2e43c"),
              ElementsAre("a", "\u2e42", "b\u2e43c"));
}

}  // namespace
}  // namespace rivulet
