#include "peft/tokenizer/post_processor.h"

#include <gmock/gmock.h>

#include "peft/tokenizer/tokenizer.h"

namespace rivulet {
namespace {

using testing::ElementsAre;

// Words "<s>" 0, "</s>" 1, "a" 2, "b" 3; `processor` puts tokens around them.
absl::StatusOr<Tokenizer> With(const std::string& config, const std::string& processor = "null") {
  return Tokenizer::Parse(
      R"({"version":"1.0","pre_tokenizer":{"type":"WhitespaceSplit"},"post_processor":)" +
          processor + R"(,"model":{"type":"WordLevel","unk_token":"a",
             "vocab":{"<s>":0,"</s>":1,"a":2,"b":3}}})",
      R"({"bos_token":"<s>","eos_token":"</s>",)" + config + "}");
}

constexpr char kBosFirst[] =
    R"({"type":"TemplateProcessing",
        "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
        "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],
        "special_tokens":{"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]}}})";

// transformers' LlamaTokenizerFast.update_post_processor: "bos:0 $A:0 eos:0 bos:1 $B:1 eos:1".
TEST(StatedEnds, LlamaClassesBuildTheirsFromTheTwoFlags) {
  const auto both =
      With(R"("tokenizer_class":"LlamaTokenizerFast","add_bos_token":true,"add_eos_token":true)");
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_THAT(both->Encode("a b")->ids, ElementsAre(0, 2, 3, 1));
  const Encoding pair = *both->EncodePair("a", "b");
  EXPECT_THAT(pair.ids, ElementsAre(0, 2, 1, 0, 3, 1));
  EXPECT_THAT(pair.type_ids, ElementsAre(0, 0, 0, 1, 1, 1));
  EXPECT_THAT(pair.special_mask, ElementsAre(1, 0, 1, 1, 0, 1));
  EXPECT_THAT(both->Encode("a b", false)->ids, ElementsAre(2, 3));
  // What tokenizer.json says is replaced.
  const auto none = With(R"("tokenizer_class":"LlamaTokenizer","add_bos_token":false)", kBosFirst);
  EXPECT_THAT(none->Encode("a")->ids, ElementsAre(2));
  const auto bos = With(R"("tokenizer_class":"GemmaTokenizerFast","add_eos_token":true)");
  EXPECT_THAT(bos->Encode("a")->ids, ElementsAre(0, 2, 1));
}

TEST(StatedEnds, WithoutFlagsTheFileDecides) {
  EXPECT_THAT(With(R"("tokenizer_class":"LlamaTokenizerFast")", kBosFirst)->Encode("a")->ids,
              ElementsAre(0, 2));
  EXPECT_THAT(
      With(R"("tokenizer_class":"LlamaTokenizerFast","add_bos_token":null)")->Encode("a")->ids,
      ElementsAre(2));
}

TEST(StatedEnds, OtherClassesMustSayWhatTheFileDoes) {
  EXPECT_TRUE(With(R"("add_bos_token":true,"add_eos_token":false)", kBosFirst).ok());
  EXPECT_TRUE(With(R"("tokenizer_class":"GPT2Tokenizer","add_bos_token":false)").ok());
  EXPECT_EQ(With(R"("add_bos_token":false)", kBosFirst).status().message(),
            "tokenizer_config.json.add_bos_token: got false, want what the post_processor of "
            "tokenizer.json does");
  EXPECT_EQ(With(R"("add_eos_token":true)", kBosFirst).status().message(),
            "tokenizer_config.json.add_eos_token: got true, want what the post_processor of "
            "tokenizer.json does");
  EXPECT_FALSE(With(R"("add_bos_token":"yes")").ok());
}

TEST(StatedEnds, ATokenThatTheVocabularyLacksCannotBePut) {
  const auto tokenizer = Tokenizer::Parse(
      R"({"version":"1.0","model":{"type":"WordLevel","unk_token":"a","vocab":{"a":0}}})",
      R"({"tokenizer_class":"LlamaTokenizer","bos_token":"<s>","add_bos_token":true})");
  EXPECT_EQ(tokenizer.status().message(),
            "tokenizer_config.json.add_bos_token: got true, want false, or a bos_token of the "
            "vocabulary");
}

TEST(Tokenizer, IdsBeyondTheEmbeddingAreNamedBeforeTraining) {
  const auto tokenizer = With(R"("add_bos_token":false)");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_TRUE(tokenizer->FitsEmbedding(4).ok());
  EXPECT_EQ(tokenizer->FitsEmbedding(3).message(),
            "tokenizer: got ids up to 3, want them below the model's vocab_size, 3");
}

}  // namespace
}  // namespace rivulet
