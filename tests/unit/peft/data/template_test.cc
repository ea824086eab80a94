#include "peft/data/template.h"

#include <gmock/gmock.h>

namespace rivulet {
namespace {

using testing::HasSubstr;

DataSection With(const std::string& template_name) {
  DataSection data;
  data.format = "jsonl";
  data.template_name = template_name;
  return data;
}

Record Fields(std::map<std::string, std::string> fields) {
  Record record;
  record.fields = std::move(fields);
  return record;
}

// The project's own prompts (tatsu-lab/stanford_alpaca).
TEST(Template, AlpacaAsksWithAndWithoutInput) {
  const auto with =
      Render(Fields({{"instruction", "Add."}, {"input", "1 2"}, {"output", "3"}}), With("alpaca"));
  ASSERT_TRUE(with.ok()) << with.status();
  ASSERT_EQ(with->size(), 2u);
  EXPECT_EQ((*with)[0].text,
            "Below is an instruction that describes a task, paired with an input that provides "
            "further context. Write a response that appropriately completes the request.\n\n"
            "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n");
  EXPECT_FALSE((*with)[0].counted);
  EXPECT_EQ((*with)[1].text, "3");
  EXPECT_TRUE((*with)[1].counted);
  const auto without =
      Render(Fields({{"instruction", "Add."}, {"input", ""}, {"output", "3"}}), With("alpaca"));
  EXPECT_EQ((*without)[0].text,
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\nAdd.\n\n### Response:\n");
}

// databrickslabs/dolly's prompt.
TEST(Template, DollyPutsTheContextUnderInput) {
  const auto segments = Render(
      Fields({{"instruction", "Who?"}, {"context", "Ann."}, {"response", "Ann"}}), With("dolly"));
  ASSERT_TRUE(segments.ok()) << segments.status();
  EXPECT_EQ((*segments)[0].text,
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\nWho?\n\nInput:\nAnn.\n\n### Response:\n");
}

TEST(Template, AlpacaReadsDollyRecordsToo) {
  const auto segments = Render(
      Fields({{"instruction", "Who?"}, {"context", "Ann."}, {"response", "Ann"}}), With("alpaca"));
  ASSERT_TRUE(segments.ok()) << segments.status();
  EXPECT_THAT((*segments)[0].text, HasSubstr("### Input:\nAnn.\n\n"));
}

TEST(Template, ChatCountsWhatTheAssistantSays) {
  Record record;
  record.messages = {{"system", "Be kind."}, {"user", "Hi"},           {"assistant", "Hello"},
                     {"user", "Bye"},        {"assistant", "So long"}, {"user", "x"}};
  const auto segments = Render(record, With("chat"));
  ASSERT_TRUE(segments.ok()) << segments.status();
  ASSERT_EQ(segments->size(), 4u);
  EXPECT_EQ((*segments)[0].text, "system: Be kind.\nuser: Hi\nassistant: ");
  EXPECT_EQ((*segments)[1].text, "Hello\n");
  EXPECT_TRUE((*segments)[1].counted);
  EXPECT_EQ((*segments)[2].text, "user: Bye\nassistant: ");
  EXPECT_FALSE((*segments)[2].counted);
}

TEST(Template, UnknownNamesAreAnsweredWithTheKnownOnes) {
  const auto status = Render(Fields({}), With("llama9")).status();
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("data.template: got \"llama9\", want one of plain, alpaca, dolly, "
                        "prompt-completion, chat"));
}

TEST(Template, AMissingFieldIsAnsweredWithThosePresent) {
  const auto status = Render(Fields({{"question", "?"}}), With("alpaca")).status();
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("field 'instruction' is missing; fields present: question"));
}

}  // namespace
}  // namespace rivulet
