#include "peft/tools/tokenizer_summary.h"

#include <gmock/gmock.h>

#include "common/io/file.h"
#include "peft/tools/verbs.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::filesystem::path Llama() {
  return std::filesystem::path(RIVULET_SOURCE_DIR) / "simulations/models/llama-7m";
}

TEST(TokenizerSummary, NamesKindSizeAndSpecialTokens) {
  const auto summary = SummarizeTokenizer(Llama());
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->kind, "BPE");
  EXPECT_EQ(summary->vocabulary, 4096u);
  EXPECT_THAT(summary->special, ElementsAre(Pair("bos", 0), Pair("eos", 1), Pair("pad", 2)));
}

TEST(TokenizerSummary, NoneIsNoErrorAndDamageIs) {
  const auto dir = ScratchFolder();
  ASSERT_TRUE(SummarizeTokenizer(dir).ok());
  EXPECT_EQ(SummarizeTokenizer(dir)->kind, "");
  ASSERT_TRUE(WriteFileAtomically(dir / "tokenizer.json", "{\"version\": \"1").ok());
  EXPECT_THAT(std::string(SummarizeTokenizer(dir).status().message()),
              HasSubstr("tokenizer.json: JSON: got the end of the text after 14 bytes"));
}

TEST(TokenizerSummary, AnUnsupportedPartIsTold) {
  const auto dir = ScratchFolder();
  ASSERT_TRUE(WriteFileAtomically(dir / "tokenizer.json",
                                  R"({"version":"1.0","model":{"type":"Telepathy"}})")
                  .ok());
  const auto summary = SummarizeTokenizer(dir);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_THAT(summary->unsupported, HasSubstr("Telepathy"));
}

// Instruction models name several, as Llama 3 does.
TEST(StopIds, AreTheUnionOfTokenizerConfigAndGenerationConfig) {
  const auto dir = ScratchFolder();
  EXPECT_THAT(*StopIds(dir, 2, {5, 2}), ElementsAre(2, 5));
  EXPECT_THAT(*StopIds(dir, std::nullopt, {}), ElementsAre());
  ASSERT_TRUE(
      WriteFileAtomically(dir / "generation_config.json", R"({"eos_token_id":[9,7]})").ok());
  EXPECT_THAT(*StopIds(dir, 2, {5}), ElementsAre(2, 5, 7, 9));
  ASSERT_TRUE(WriteFileAtomically(dir / "generation_config.json", R"({"eos_token_id":8})").ok());
  EXPECT_THAT(*StopIds(dir, 2, {}), ElementsAre(2, 8));
  ASSERT_TRUE(WriteFileAtomically(dir / "generation_config.json", R"({"eos_token_id":"x"})").ok());
  EXPECT_THAT(std::string(StopIds(dir, 2, {}).status().message()), HasSubstr("eos_token_id: got"));
}

TEST(ExitCodeOfModelTool, MistakesInTheInputAreConfiguration) {
  const auto code = [](absl::StatusCode status) {
    return ExitCodeOfModelTool(absl::Status(status, "x"));
  };
  EXPECT_EQ(ExitCodeOfModelTool(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(code(absl::StatusCode::kInvalidArgument), ExitCode::kConfig);
  EXPECT_EQ(code(absl::StatusCode::kNotFound), ExitCode::kConfig);
  EXPECT_EQ(code(absl::StatusCode::kUnimplemented), ExitCode::kConfig);
  EXPECT_EQ(code(absl::StatusCode::kAlreadyExists), ExitCode::kConfig);
  EXPECT_EQ(code(absl::StatusCode::kPermissionDenied), ExitCode::kFailure);
  EXPECT_EQ(code(absl::StatusCode::kDataLoss), ExitCode::kFailure);
  EXPECT_EQ(code(absl::StatusCode::kResourceExhausted), ExitCode::kResource);
}

}  // namespace
}  // namespace rivulet
