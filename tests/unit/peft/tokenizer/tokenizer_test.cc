#include "peft/tokenizer/tokenizer.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "common/io/file.h"
#include "common/io/sha256.h"
#include "tests/unit/golden_folder.h"

namespace rivulet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::filesystem::path Llama() {
  return std::filesystem::path(RIVULET_SOURCE_DIR) / "simulations/models/llama-7m";
}

// A word-level pipeline with the added tokens given; "?" 0, a 1, b 2, ab 3.
absl::StatusOr<Tokenizer> WithAdded(const std::string& added,
                                    const std::string& normalizer = "null") {
  return Tokenizer::Parse(R"({"version": "1.0", "normalizer": )" + normalizer +
                          R"(, "pre_tokenizer": {"type": "WhitespaceSplit"}, "added_tokens": [)" +
                          added + R"(], "model": {"type": "WordLevel", "unk_token": "?",
                             "vocab": {"?": 0, "a": 1, "b": 2, "ab": 3}}})");
}

std::vector<int32_t> Ids(const absl::StatusOr<Tokenizer>& tokenizer, std::string_view text) {
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer->Encode(text)->ids;
}

// From tokenizers 0.23.3 over the same file.
TEST(Llama7m, EncodesAndDecodesAsTheReferenceDoes) {
  const auto tokenizer = Tokenizer::Load(Llama());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(Ids(tokenizer, "Hello world!"), ElementsAre(0, 42, 741, 81, 1023, 3));
  EXPECT_THAT(Ids(tokenizer, "I'll can't WE'RE"),
              ElementsAre(0, 43, 808, 482, 491, 405, 39, 9, 52, 39));
  EXPECT_THAT(Ids(tokenizer, "  two  spaces\n\n\ttab "),
              ElementsAre(0, 223, 682, 223, 618, 640, 286, 201, 201, 200, 86, 630, 223));
  EXPECT_THAT(Ids(tokenizer, "na\u00efve caf\u00e9 \u65e5\u672c \U0001F600"),
              ElementsAre(0, 3294, 130, 110, 309, 1218, 72, 130, 105, 223, 165, 248, 101, 165, 253,
                          108, 223, 175, 256, 249, 225));
  const auto marked = tokenizer->Encode("A fortune is a paper of <s> and </s>.");
  EXPECT_THAT(marked->ids, ElementsAre(0, 35, 2980, 358, 261, 3070, 285, 223, 0, 284, 223, 1, 16));
  EXPECT_EQ(*tokenizer->Decode(marked->ids), "A fortune is a paper of  and .");
  EXPECT_EQ(*tokenizer->Decode(marked->ids, false), "<s>A fortune is a paper of <s> and </s>.");
}

TEST(Llama7m, NamesItsSpecialTokens) {
  const auto tokenizer = Tokenizer::Load(Llama());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(tokenizer->special_ids().bos, 0);
  EXPECT_EQ(tokenizer->special_ids().eos, 1);
  EXPECT_EQ(tokenizer->special_ids().pad, 2);
  EXPECT_FALSE(tokenizer->special_ids().cls.has_value());
  EXPECT_EQ(tokenizer->vocab_size(), 4096u);
  EXPECT_EQ(tokenizer->id_limit(), 4096);
  EXPECT_EQ(tokenizer->IdOf("</s>"), 1);
  EXPECT_FALSE(tokenizer->IdOf("no such piece").has_value());
}

// 1.1 MB at once: count and SHA-256 of the little-endian ids from tokenizers 0.23.3.
TEST(Llama7m, EncodesABookAsTheReferenceDoes) {
  const auto file = SharedFolder() / "data/text/tinyshakespeare/input.txt";
  RV_SKIP_WITHOUT(file);
  const auto hash = [](const std::vector<int32_t>& ids) {
    Sha256 sum;
    sum.Update(std::as_bytes(std::span(ids)));
    return HexOf(sum.Finish());
  };
  const auto text = ReadFile(file, 1 << 24);
  const auto ids = Ids(Tokenizer::Load(Llama()), *text);
  EXPECT_EQ(ids.size(), 415598u);
  EXPECT_EQ(hash(ids), "2570976d491f60d0e8cede0bed4d30dde489c17fd6c28d1eb1a7a2e861394ea3");
  const auto bert = Ids(Tokenizer::Load(SharedFolder() / "models/bert-7m"), *text);
  EXPECT_EQ(bert.size(), 307572u);
  EXPECT_EQ(hash(bert), "aff9124c8b82a2a329ffac2c2c2a0bcc799ece5a86dbdfaa5a6c0c7c3bce26a6");
}

TEST(Llama7m, GivesTheSameIdsToManyThreadsAtOnce) {
  const auto tokenizer = Tokenizer::Load(Llama());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  std::string text;
  for (int word = 0; word < 2000; ++word) text += " word" + std::to_string(word * 7919 % 997);
  const auto want = tokenizer->Encode(text)->ids;
  const auto fresh = Tokenizer::Load(Llama());  // its cache is empty
  std::vector<std::vector<int32_t>> got(4);
  std::vector<std::thread> threads;
  for (auto& ids : got) threads.emplace_back([&] { ids = fresh->Encode(text)->ids; });
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(got, testing::Each(want));
}

TEST(AddedTokens, AreFoundLeftmostThenLongest) {
  const auto tokenizer = WithAdded(
      R"({"content": "<x>", "special": true}, {"content": "<x>>", "special": true},
         {"content": "x>>y", "special": true})");
  EXPECT_THAT(Ids(tokenizer, "a<x>b"), ElementsAre(1, 4, 2));
  EXPECT_THAT(Ids(tokenizer, "<x>>y"), ElementsAre(5, 0));
}

TEST(AddedTokens, TakeTheWhiteSpaceBesideThemWhenAsked) {
  const auto tokenizer = Tokenizer::Parse(R"({"version": "1.0",
      "added_tokens": [{"content": "<l>", "lstrip": true, "special": true},
                       {"content": "<r>", "rstrip": true, "special": true}],
      "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, " ": 1}}})");
  EXPECT_THAT(Ids(tokenizer, " \n<l> "), ElementsAre(2, 1));
  EXPECT_THAT(Ids(tokenizer, " <r>  "), ElementsAre(1, 3));
  // What <r> took is not there for <l> any more.
  EXPECT_THAT(Ids(tokenizer, "<r>  <l>"), ElementsAre(3, 2));
}

TEST(AddedTokens, SingleWordsDoNotMatchInsideWords) {
  const auto tokenizer = WithAdded(R"({"content": "cat", "single_word": true, "special": true})");
  EXPECT_THAT(Ids(tokenizer, "a cat!"), ElementsAre(1, 4, 0));
  EXPECT_THAT(Ids(tokenizer, "cats"), ElementsAre(0));
  EXPECT_THAT(Ids(tokenizer, "\u00e9cat"), ElementsAre(0));
}

// tokenizers 0.23.3: "xFOOxfoox" with FOO normalized and a Lowercase normaliser finds both.
TEST(AddedTokens, NormalizedOnesMatchWhatTheNormaliserLeaves) {
  const auto tokenizer = WithAdded(
      R"({"content": "FOO", "normalized": true}, {"content": "BAR", "normalized": false})",
      R"({"type": "Lowercase"})");
  EXPECT_THAT(Ids(tokenizer, "a FOO foo"), ElementsAre(1, 4, 4));
  EXPECT_THAT(Ids(tokenizer, "BAR bar"), ElementsAre(5, 0));
  EXPECT_EQ(*tokenizer->Decode(std::vector<int32_t>{4, 5}), "foo BAR");
}

// tokenizers 0.23.3 numbers them itself, whatever the file says.
TEST(AddedTokens, IdsFollowTheVocabularyNotTheFile) {
  const auto tokenizer = WithAdded(
      R"({"id": 77, "content": "new", "special": true}, {"id": 78, "content": "b", "special": true})");
  EXPECT_THAT(Ids(tokenizer, "new b"), ElementsAre(4, 2));
  EXPECT_EQ(tokenizer->vocab_size(), 5u);
}

TEST(Encode, RefusesTextThatIsNotUtf8) {
  const auto tokenizer = WithAdded("");
  const auto status = tokenizer->Encode("ab\xE2\x82").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("byte 2 is not valid UTF-8"));
}

TEST(Encode, AMissingUnknownTokenIsAnErrorOnlyWhenNeeded) {
  const auto tokenizer = Tokenizer::Parse(
      R"({"version": "1.0", "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"a": 0}}})");
  EXPECT_THAT(Ids(tokenizer, "a"), ElementsAre(0));
  EXPECT_EQ(tokenizer->Encode("b").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Decode, LeavesOutIdsThatAreInNoVocabulary) {
  const auto tokenizer = WithAdded("");
  EXPECT_EQ(*tokenizer->Decode(std::vector<int32_t>{1, 99, -5, 2}), "a b");
}

TEST(StreamDecoder, HoldsACharacterBackUntilItIsWhole) {
  const auto tokenizer = Tokenizer::Load(Llama());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  StreamDecoder stream(*tokenizer);
  // "caf\u00e9 \u65e5": 72 130 105 are "f", and the two bytes of e acute.
  std::vector<std::string> pieces;
  for (int32_t id : {1218, 72, 130, 105, 223, 165, 248, 101}) pieces.push_back(*stream.Push(id));
  EXPECT_THAT(pieces, ElementsAre(" ca", "f", "", "\u00e9", " ", "", "", "\u65e5"));
  EXPECT_EQ(*stream.Finish(), "");
  EXPECT_EQ(*stream.Push(165), "");
  EXPECT_EQ(*stream.Finish(), "\uFFFD");
}

}  // namespace
}  // namespace rivulet
