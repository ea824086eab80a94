#include "common/formats/peft_config.h"

#include <gtest/gtest.h>

#include <cmath>

namespace rivulet {
namespace {

absl::StatusOr<PeftLoraConfig> WithRanks(const std::string& ranks) {
  return ParsePeftLoraConfig(R"({"peft_type":"LORA","r":8,"rank_pattern":)" + ranks + "}");
}

std::string ManyRanks(int count) {
  std::string text = "{";
  for (int entry = 0; entry < count; ++entry)
    text += (entry == 0 ? "\"m" : ",\"m") + std::to_string(entry) + "\":4";
  return text + "}";
}

// PEFT takes the first key of the file that matches, whatever its spelling sorts to.
TEST(PeftLoraConfig, OfTwoPatternsThatMatchTheFirstOfTheFileCounts) {
  const auto general = WithRanks(R"({"q_proj":5,"model.layers.0.self_attn.q_proj":16})");
  ASSERT_TRUE(general.ok()) << general.status();
  EXPECT_EQ(*general->RankOf("model.layers.0.self_attn.q_proj"), 5);
  const auto special = WithRanks(R"({"model.layers.0.self_attn.q_proj":16,"q_proj":5})");
  ASSERT_TRUE(special.ok()) << special.status();
  EXPECT_EQ(*special->RankOf("model.layers.0.self_attn.q_proj"), 16);
  EXPECT_EQ(*special->RankOf("model.layers.1.self_attn.q_proj"), 5);
  EXPECT_EQ(*special->RankOf("model.layers.1.self_attn.k_proj"), 8);
  EXPECT_NE(*general, *special);
  // Written and read again, the order is the same.
  EXPECT_EQ(*ParsePeftLoraConfig(PeftLoraConfigText(*general)), *general);
  EXPECT_EQ(*ParsePeftLoraConfig(PeftLoraConfigText(*special)), *special);
}

TEST(PeftLoraConfig, PatternsAreFewAndValidOrTheFileIsRefused) {
  EXPECT_TRUE(WithRanks(ManyRanks(256)).ok());
  EXPECT_NE(std::string(WithRanks(ManyRanks(257)).status().message())
                .find("want an object of at most 256 numbers by module name"),
            std::string::npos);
  EXPECT_EQ(WithRanks(R"({"q_proj(":4})").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WithRanks(R"({"q_proj":0})").status().message(),
            R"(rank_pattern: got {"q_proj":0}, want positive numbers)");
}

TEST(PeftLoraConfig, AMatchOfTooManyStepsEndsInAnError) {
  const auto config = WithRanks(R"({"(a|aa)+[bc]":4})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->RankOf(std::string(40, 'a')).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace rivulet
