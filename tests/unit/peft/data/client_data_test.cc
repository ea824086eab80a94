#include "peft/data/client_data.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "common/io/sha256.h"
#include "peft/data/record_reader.h"

namespace rivulet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// One token a word; "</s>" 0, "<s>" 1 in front of every text, unknown words 2.
Tokenizer Words(const std::string& config = R"({"eos_token": "</s>"})") {
  const auto tokenizer = Tokenizer::Parse(R"({
    "version": "1.0",
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "model": {"type": "WordLevel", "unk_token": "?",
      "vocab": {"</s>": 0, "<s>": 1, "?": 2, "a": 3, "b": 4, "c": 5, "d": 6}}})",
                                          config);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *tokenizer;
}

// [CLS] 0 ... [SEP] 1.
Tokenizer Encoder() {
  const auto tokenizer = Tokenizer::Parse(R"({
    "version": "1.0",
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 0], "sep": ["[SEP]", 1]},
    "model": {"type": "WordLevel", "unk_token": "?",
      "vocab": {"[CLS]": 0, "[SEP]": 1, "?": 2, "a": 3, "b": 4, "c": 5, "d": 6}}})");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *tokenizer;
}

std::vector<Record> Texts(const std::vector<std::string>& texts) {
  std::vector<Record> records;
  for (const std::string& text : texts) {
    Record record;
    record.fields["text"] = text;
    record.line = static_cast<int64_t>(records.size()) + 1;
    records.push_back(std::move(record));
  }
  return records;
}

std::vector<Record> Labelled(const std::vector<std::pair<std::string, std::string>>& rows) {
  std::vector<Record> records;
  for (const auto& [text, label] : rows) {
    Record record;
    record.fields = {{"text", text}, {"label", label}};
    records.push_back(std::move(record));
  }
  return records;
}

DataSection Section(int seq_length) {
  DataSection data;
  data.seq_length = seq_length;
  data.held_out_fraction = 0;
  return data;
}

TEST(HeldOut, IsTheFloorOfTheShareButAtLeastOneAndNeverAll) {
  EXPECT_EQ(HeldOutCount(465, 0.1), 46u);
  EXPECT_EQ(HeldOutCount(9, 0.1), 1u);
  EXPECT_EQ(HeldOutCount(30, 0.1), 3u);
  EXPECT_EQ(HeldOutCount(100, 0.29), 29u);  // the binary product is a hair below 29
  EXPECT_EQ(HeldOutCount(2, 0.99), 1u);
  EXPECT_EQ(HeldOutCount(1, 0.5), 0u);
  EXPECT_EQ(HeldOutCount(50, 0), 0u);
}

// By hand: <s> a b </s> <s> c </s> | <s> d </s> ...
TEST(Packing, JoinsRecordsWithEosAndDropsTheRemainder) {
  const auto out = BuildClientData(Texts({"a b", "c", "d"}), Section(4), Words(), 8);
  ASSERT_TRUE(out.ok()) << out.status();
  ASSERT_EQ(out->train.size(), 2u);
  EXPECT_THAT(out->train[0].ids, ElementsAre(1, 3, 4, 0));
  EXPECT_THAT(out->train[1].ids, ElementsAre(1, 5, 0, 1));
  EXPECT_TRUE(out->train[0].targets.empty());
  EXPECT_TRUE(out->held_out.empty());
}

TEST(Packing, HeldOutRecordsArePackedApartAndCapped) {
  DataSection data = Section(3);
  data.held_out_fraction = 0.5;
  data.held_out_max_blocks = 1;
  const auto out = BuildClientData(Texts({"a", "b", "c", "d"}), data, Words(), 8);
  ASSERT_TRUE(out.ok()) << out.status();
  ASSERT_EQ(out->train.size(), 2u);
  EXPECT_THAT(out->train[1].ids, ElementsAre(1, 4, 0));
  ASSERT_EQ(out->held_out.size(), 1u);
  EXPECT_THAT(out->held_out[0].ids, ElementsAre(1, 5, 0));
}

// By hand: twelve words in four blocks of three, <s> in front, and "d </s>" dropped.
TEST(Packing, OfATextWithoutSeparatorTheLastBlocksAreHeldOut) {
  DataSection data = Section(3);
  const std::vector<Record> one = Texts({"a b c d a b c d a b c d"});
  data.held_out_fraction = 0.5;
  const auto half = BuildClientData(one, data, Words(), 8);
  ASSERT_TRUE(half.ok()) << half.status();
  ASSERT_EQ(half->train.size(), 2u);
  EXPECT_THAT(half->train[0].ids, ElementsAre(1, 3, 4));
  EXPECT_THAT(half->train[1].ids, ElementsAre(5, 6, 3));
  ASSERT_EQ(half->held_out.size(), 2u);
  EXPECT_THAT(half->held_out[0].ids, ElementsAre(4, 5, 6));
  EXPECT_THAT(half->held_out[1].ids, ElementsAre(3, 4, 5));

  data.held_out_max_blocks = 1;
  const auto capped = BuildClientData(one, data, Words(), 8);
  EXPECT_EQ(capped->train.size(), 2u);
  ASSERT_EQ(capped->held_out.size(), 1u);
  EXPECT_THAT(capped->held_out[0].ids, ElementsAre(4, 5, 6));

  data.held_out_fraction = 0.1;  // at least one
  EXPECT_EQ(BuildClientData(one, data, Words(), 8)->train.size(), 3u);
  data.held_out_fraction = 0;
  EXPECT_EQ(BuildClientData(one, data, Words(), 8)->train.size(), 4u);
}

// A separator was given, and one record is what it left.
TEST(Packing, ARecordAmongSeparatorsIsNotCut) {
  DataSection data = Section(3);
  data.held_out_fraction = 0.5;
  data.separator = "%";
  const auto out = BuildClientData(Texts({"a b c d a b c d a b c d"}), data, Words(), 8);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->train.size(), 4u);
  EXPECT_TRUE(out->held_out.empty());
}

TEST(Packing, CountsOnlyTheAnswerUnderATemplate) {
  DataSection data = Section(5);
  data.format = "jsonl";
  data.template_name = "prompt-completion";
  Record record;
  record.fields = {{"prompt", "a b "}, {"completion", "c"}};
  const std::vector<Record> records = {record, record};
  const auto out = BuildClientData(records, data, Words(), 8);
  ASSERT_TRUE(out.ok()) << out.status();
  ASSERT_EQ(out->train.size(), 2u);
  EXPECT_THAT(out->train[0].ids, ElementsAre(1, 3, 4, 5, 0));
  EXPECT_THAT(out->train[0].targets, ElementsAre(-100, -100, -100, 5, 0));
}

TEST(OnePerRecord, IsCutToLengthAndLeftOutWhenNothingOfTheAnswerIsLeft) {
  DataSection data = Section(4);
  data.format = "jsonl";
  data.template_name = "prompt-completion";
  data.packing = false;
  Record fits, too_long;
  fits.fields = {{"prompt", "a b "}, {"completion", "c d"}};
  too_long.fields = {{"prompt", "a b c d "}, {"completion", "a"}};
  const std::vector<Record> records = {fits, too_long};
  const auto out = BuildClientData(records, data, Words(), 8);
  ASSERT_TRUE(out.ok()) << out.status();
  ASSERT_EQ(out->train.size(), 1u);
  EXPECT_THAT(out->train[0].ids, ElementsAre(1, 3, 4, 5));
  EXPECT_THAT(out->train[0].targets, ElementsAre(-100, -100, -100, 5));
}

TEST(OnePerRecord, ChatCountsEveryAnswer) {
  DataSection data = Section(20);
  data.format = "jsonl";
  data.template_name = "chat";
  data.packing = false;
  Record record;
  record.messages = {{"user", "a"}, {"assistant", "b"}, {"user", "c"}, {"assistant", "d"}};
  const auto out = BuildClientData(std::vector<Record>{record}, data, Words(), 32);
  ASSERT_TRUE(out.ok()) << out.status();
  // <s> user: a assistant: b user: c assistant: d </s>
  EXPECT_THAT(out->train[0].ids, ElementsAre(1, 2, 3, 2, 4, 2, 5, 2, 6, 0));
  EXPECT_THAT(out->train[0].targets,
              ElementsAre(-100, -100, -100, -100, 4, -100, -100, -100, 6, 0));
}

TEST(Classification, KeepsTheClosingTokenAndNumbersTheLabels) {
  DataSection data = Section(4);
  data.task = "classification";
  const auto out =
      BuildClientData(Labelled({{"a b c d", "no"}, {"a", "maybe"}}), data, Encoder(), 8);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_THAT(out->train[0].ids, ElementsAre(0, 3, 4, 1));
  EXPECT_EQ(out->train[0].label, 1);  // maybe, no
  EXPECT_THAT(out->train[1].ids, ElementsAre(0, 3, 1));
  EXPECT_EQ(out->train[1].label, 0);
}

TEST(Classification, FollowsTheOrderOfTheJobsLabels) {
  DataSection data = Section(4);
  data.task = "classification";
  data.labels = {"no", "maybe", "yes"};
  const auto out = BuildClientData(Labelled({{"a", "yes"}, {"b", "no"}}), data, Encoder(), 8);
  EXPECT_EQ(out->train[0].label, 2);
  EXPECT_EQ(out->train[1].label, 0);
  const auto unknown = BuildClientData(Labelled({{"a", "never"}}), data, Encoder(), 8);
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("label: got 'never'"));
}

TEST(Labels, SortByValueWhenAllAreIntegers) {
  const DataSection data;
  EXPECT_THAT(LabelsOf(Labelled({{"", "10"}, {"", "9"}, {"", "10"}, {"", "-1"}}), data),
              ElementsAre("-1", "9", "10"));
  EXPECT_THAT(LabelsOf(Labelled({{"", "10"}, {"", "9"}, {"", "x"}}), data),
              ElementsAre("10", "9", "x"));
}

TEST(ClientData, ALengthBeyondTheModelIsRefused) {
  const auto out = BuildClientData(Texts({"a"}), Section(9), Words(), 8);
  EXPECT_THAT(std::string(out.status().message()),
              HasSubstr("data.seq-length: got 9, want 2..8 (the model's positions)"));
}

TEST(ClientData, PackingNeedsAnEosToken) {
  const auto out = BuildClientData(Texts({"a"}), Section(4), Words(""), 8);
  EXPECT_THAT(std::string(out.status().message()), HasSubstr("names no eos_token"));
}

// Record counts, block counts and ids (SHA-256 of the little-endian int32 ids, block after block)
// of the quickstart's data, computed with tokenizers 0.23.3 from the files of Debian's fortunes
// 1:1.99.1-7.3.
struct FortuneFile {
  const char* name;
  size_t records, train, held_out;
  const char* train_sha256;
  const char* held_out_sha256;
};
constexpr FortuneFile kFortunes[] = {
    {"art", 465, 228, 16, "4b0ba94b7b38b2a4c1cfd01d47cd984f34d7dfbea1f789852ec3f23472cfdf0b",
     "391c859e5e23f5f04dfe495477f4eae895eb6244593be42c6b49fea062985b94"},
    {"linux", 336, 163, 16, "8aa97ab01c0eda439d03c39e0b525d34829991ab906808f85e7ac93a85209c81",
     "c08c826a1c34b77a810d02ccf042d9b51030102d3dc0fb6c813758948679e5ba"}};

std::string HashOf(const std::vector<Example>& blocks) {
  Sha256 hash;
  for (const Example& block : blocks) hash.Update(std::as_bytes(std::span(block.ids)));
  return HexOf(hash.Finish());
}

TEST(Fortunes, AreTokenisedAndPackedAsTheReferenceDoes) {
  const std::filesystem::path folder = "/usr/share/games/fortunes";
  if (!std::filesystem::exists(folder / "art")) GTEST_SKIP() << "no fortunes under " << folder;
  const auto tokenizer =
      Tokenizer::Load(std::filesystem::path(RIVULET_SOURCE_DIR) / "simulations/models/llama-7m");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  DataSection data;
  data.separator = "\n%\n";
  data.seq_length = 128;
  for (const FortuneFile& want : kFortunes) {
    SCOPED_TRACE(want.name);
    const auto list = ReadRecords(folder / want.name, data);
    ASSERT_TRUE(list.ok()) << list.status();
    EXPECT_EQ(list->records.size(), want.records);
    const auto out = BuildClientData(list->records, data, *tokenizer, 1024);
    ASSERT_TRUE(out.ok()) << out.status();
    EXPECT_EQ(out->train.size(), want.train);
    EXPECT_EQ(out->held_out.size(), want.held_out);
    EXPECT_EQ(HashOf(out->train), want.train_sha256);
    EXPECT_EQ(HashOf(out->held_out), want.held_out_sha256);
  }
}

}  // namespace
}  // namespace rivulet
