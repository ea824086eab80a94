// Files that must be refused by name, and work that must be bounded.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "peft/tokenizer/tokenizer.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

using testing::HasSubstr;

std::string Refusal(const std::string& json) {
  const auto tokenizer = Tokenizer::Parse(json);
  return tokenizer.ok() ? "accepted" : std::string(tokenizer.status().message());
}

// A sound file with one member replaced or added.
std::string FileWith(const std::string& member) {
  return R"({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, )" +
         member + "}";
}
std::string WithModel(const std::string& model) {
  return R"({"version": "1.0", "model": )" + model + "}";
}

TEST(HostileTokenizer, UnsupportedPartsAreNamedWithThoseThatAre) {
  EXPECT_THAT(Refusal(FileWith(R"("normalizer": {"type": "Precompiled"})")),
              HasSubstr("normalizer 'Precompiled' is not supported, want one of BertNormalizer, "));
  EXPECT_THAT(Refusal(FileWith(R"("pre_tokenizer": {"type": "UnicodeScripts"})")),
              HasSubstr("pre_tokenizer 'UnicodeScripts' is not supported, want one of"));
  EXPECT_THAT(Refusal(FileWith(R"("post_processor": {"type": "X"})")),
              HasSubstr("post_processor 'X' is not supported, want one of"));
  EXPECT_THAT(Refusal(FileWith(R"("decoder": {"type": "CTC"})")),
              HasSubstr("decoder 'CTC' is not supported, want one of"));
  EXPECT_THAT(Refusal(WithModel(R"({"type": "Markov"})")),
              HasSubstr("model 'Markov' is not supported, want one of"));
}

TEST(HostileTokenizer, ShapesThatAreWrongAreNamedByField) {
  EXPECT_THAT(Refusal("[]"), HasSubstr("got array, want an object"));
  EXPECT_THAT(Refusal(R"({"version": "2.0", "model": {}})"), HasSubstr("version: got \"2.0\""));
  EXPECT_THAT(Refusal(R"({"version": "1.0"})"), HasSubstr("tokenizer.json.model: got nothing"));
  EXPECT_THAT(
      Refusal("{"),
      HasSubstr("tokenizer.json: JSON: got the end of the text after 1 bytes, want the rest"));
  EXPECT_THAT(Refusal(FileWith(R"("normalizer": {"type": "Sequence", "normalizers": [null]})")),
              HasSubstr("normalizer.normalizers"));
  EXPECT_THAT(Refusal(FileWith(R"("added_tokens": [{"content": 5}])")),
              HasSubstr("added_tokens[0].content: got 5, want a string"));
  EXPECT_THAT(Refusal(FileWith(R"("pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("},
                              "behavior": "Isolated"})")),
              HasSubstr("pre_tokenizer.pattern: pattern '(': "));
  EXPECT_THAT(Refusal(FileWith(R"("post_processor": {"type": "TemplateProcessing", "pair": [],
                              "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}],
                              "special_tokens": {}})")),
              HasSubstr("special_tokens.<s>: got nothing, want an object"));
  EXPECT_THAT(
      Refusal(FileWith(R"("pre_tokenizer": {"type": "Metaspace", "add_prefix_space": false})")),
      HasSubstr("add_prefix_space: got false"));
}

TEST(HostileTokenizer, MergesMustFitTheVocabulary) {
  EXPECT_THAT(Refusal(WithModel(R"({"type": "BPE", "vocab": {"a": 0}, "merges": {}})")),
              HasSubstr("model.merges: got object, want an array"));
  EXPECT_THAT(Refusal(WithModel(R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["a a"]})")),
              HasSubstr("model.merges[0]: 'aa' is not in the vocabulary"));
  EXPECT_THAT(Refusal(WithModel(R"({"type": "BPE", "vocab": {"a": 0}, "merges": ["a  a"]})")),
              HasSubstr("model.merges[0]: want \"a b\" with one space"));
  EXPECT_THAT(
      Refusal(WithModel(R"({"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.1})")),
      HasSubstr("model.dropout: got 0.1"));
}

TEST(HostileTokenizer, IdsOutsideTheRangeAreRefused) {
  for (const char* id : {"-1", "16777216", "1e3", "\"0\"", "18446744073709551615"}) {
    EXPECT_THAT(Refusal(WithModel(R"({"type": "BPE", "vocab": {"a": )" + std::string(id) +
                                  R"(}, "merges": []})")),
                HasSubstr("model.vocab: id of 'a': want an integer in 0..16777215"))
        << id;
  }
}

TEST(HostileTokenizer, DeepNestingIsRefused) {
  std::string deep;
  for (int level = 0; level < 100'000; ++level) {
    deep += R"({"type":"Sequence","normalizers":[)";
  }
  EXPECT_THAT(Refusal(FileWith("\"normalizer\": " + deep)), HasSubstr("nested deeper than 32"));
}

TEST(HostileTokenizer, AFileAboveTheLimitIsNotRead) {
  const auto path = ScratchFolder() / "tokenizer.json";
  std::ofstream(path) << "{}";
  std::filesystem::resize_file(path, Tokenizer::kMaxFileBytes + 1);  // sparse
  EXPECT_EQ(Tokenizer::Load(path).status().code(), absl::StatusCode::kOutOfRange);
  std::filesystem::remove(path);
}

TEST(HostileTokenizer, AFolderWithoutAnyTokenizerSaysWhatItLookedFor) {
  const auto folder = ScratchFolder();
  const auto status = Tokenizer::Load(folder).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("vocab.json + merges.txt or vocab.txt"));
}

TEST(HostileTokenizer, APatternThatBacktracksWithoutEndIsStopped) {
  const auto tokenizer = Tokenizer::Parse(FileWith(
      R"("pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a|aa)+$"}, "behavior": "Isolated"})"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto status = tokenizer->Encode(std::string(5000, 'a') + "b").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

TEST(HostileTokenizer, ReplacementsThatMultiplyTheTextAreStopped) {
  const std::string step =
      R"({"type":"Replace","pattern":{"String":"a"},"content":")" + std::string(1000, 'a') + "\"}";
  const auto tokenizer =
      Tokenizer::Parse(FileWith(R"("normalizer": {"type": "Sequence", "normalizers": [)" + step +
                                "," + step + "," + step + "]}"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(tokenizer->Encode("a").status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(HostileTokenizer, ALongWordIsMergedInLessThanQuadraticTime) {
  // 1 MiB of one pre-token: quadratic merging would take hours, and the test's limit ends it.
  std::string model = R"({"type": "BPE", "vocab": {"a": 0, "aa": 1, "aaaa": 2},
                          "merges": ["a a", "aa aa"]})";
  const auto tokenizer = Tokenizer::Parse(WithModel(model));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto encoding = tokenizer->Encode(std::string(1 << 20, 'a'));
  ASSERT_TRUE(encoding.ok()) << encoding.status();
  EXPECT_EQ(encoding->ids, std::vector<int32_t>(1 << 18, 2));
}

}  // namespace
}  // namespace rivulet
