#include "peft/data/record_reader.h"

#include <gmock/gmock.h>

#include "tests/unit/peft/data/scratch_file.h"

namespace rivulet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

DataSection Section(const std::string& format, const std::string& template_name = "plain") {
  DataSection data;
  data.format = format;
  data.template_name = template_name;
  return data;
}

DataSection Classification(const std::string& format) {
  DataSection data = Section(format);
  data.task = "classification";
  return data;
}

std::vector<std::string> Values(const RecordList& list, const std::string& field) {
  std::vector<std::string> values;
  for (const Record& record : list.records) values.push_back(record.fields.at(field));
  return values;
}

std::vector<int64_t> Lines(const RecordList& list) {
  std::vector<int64_t> lines;
  for (const Record& record : list.records) lines.push_back(record.line);
  return lines;
}

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

TEST(TextRecords, AreStrippedAndEmptyOnesDropped) {
  DataSection data = Section("text");
  data.separator = "\n%\n";
  const auto file = ScratchFile("a", "\n one\ntwo \n%\n \n%\n%\nthree\n%\n\u00a0four\x1f\n");
  const auto list = ReadRecords(file, data);
  ASSERT_TRUE(list.ok()) << list.status();
  // As Python: "...".split("\n%\n"), then str.strip(): the second "%" stands in front of "three".
  EXPECT_THAT(Values(*list, "text"), ElementsAre("one\ntwo", "%\nthree", "four"));
  EXPECT_THAT(Lines(*list), ElementsAre(2, 7, 10));
}

TEST(TextRecords, AWholeFileIsOneRecordWithoutASeparator) {
  const auto list = ReadRecords(ScratchFile("a",
                                            "\xEF\xBB\xBF"
                                            "one\r\ntwo\rthree"),
                                Section("text"));
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(Values(*list, "text"), ElementsAre("one\ntwo\nthree"));
}

TEST(TextRecords, BytesThatAreNotUtf8AreReportedWithTheirLine) {
  DataSection data = Section("text");
  data.separator = "\n%\n";
  const auto file = ScratchFile("a", "fine\n%\nfirst\nsecond \xFF\n%\nlast");
  const auto refused = ReadRecords(file, data);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(MessageOf(refused.status()), HasSubstr("a:4: got bytes that are not UTF-8"));

  data.skip_malformed = true;
  const auto skipped = ReadRecords(file, data);
  ASSERT_TRUE(skipped.ok()) << skipped.status();
  EXPECT_THAT(Values(*skipped, "text"), ElementsAre("fine", "last"));
  EXPECT_EQ(skipped->malformed, 1);
  EXPECT_THAT(skipped->problems, ElementsAre(HasSubstr("a:4: ")));
}

TEST(JsonLines, KeepFieldsAndNumbersAsText) {
  const auto list = ReadRecords(
      ScratchFile("a", "{\"text\":\"x\\n\",\"label\":3}\n\n{\"text\":\"y\",\"label\":true}"),
      Classification("jsonl"));
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(Values(*list, "text"), ElementsAre("x\n", "y"));
  EXPECT_THAT(Values(*list, "label"), ElementsAre("3", "true"));
  EXPECT_THAT(Lines(*list), ElementsAre(1, 3));
}

TEST(JsonLines, EveryKindOfMalformedRecordIsCountedWithItsLine) {
  DataSection data = Classification("jsonl");
  data.labels = {"good", "bad"};
  data.skip_malformed = true;
  const auto list = ReadRecords(ScratchFile("a",
                                            "{\"text\":\"x\",\"label\":\"good\"}\n"
                                            "{\"text\":\"x\",\"label\":\n"
                                            "[1,2]\n"
                                            "{\"body\":\"x\",\"label\":\"good\"}\n"
                                            "{\"text\":\"x\",\"label\":\"ugly\"}\n"
                                            "{\"text\":\"\xC0\xAF\",\"label\":\"good\"}\n"
                                            "{\"text\":\"y\",\"label\":\"bad\"}\n"),
                                data);
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(Values(*list, "text"), ElementsAre("x", "y"));
  EXPECT_EQ(list->malformed, 5);
  EXPECT_THAT(list->problems,
              ElementsAre(HasSubstr("a:2: JSON: got the end of the text after 20 bytes"),
                          HasSubstr("a:3: got array, want an object"),
                          HasSubstr("a:4: field 'text' is missing; fields present: body, label"),
                          HasSubstr("a:5: label: got 'ugly', want one of good, bad"),
                          HasSubstr("a:6: JSON: invalid UTF-8 at byte 9")));
}

TEST(JsonLines, TheFirstMalformedRecordIsAnErrorUnlessAllowed) {
  const auto list =
      ReadRecords(ScratchFile("a", "{\"prompt\":\"p\",\"completion\":\"c\"}\n{\"prompt\":\"p\"}\n"),
                  Section("jsonl", "prompt-completion"));
  EXPECT_EQ(list.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      MessageOf(list.status()),
      testing::AllOf(HasSubstr("a:2: field 'completion' is missing; fields present: prompt"),
                     HasSubstr("data.skip-malformed")));
}

TEST(JsonLines, DeepNestingIsRefusedNotFollowed) {
  const std::string deep = "{\"text\":" + std::string(100'000, '[') + "}";
  const auto list = ReadRecords(ScratchFile("a", deep), Section("jsonl"));
  EXPECT_THAT(MessageOf(list.status()), HasSubstr("a:1: JSON: nested deeper than 32"));
}

TEST(JsonArray, ElementsAreReadWithTheirLines) {
  const auto list = ReadRecords(
      ScratchFile("a",
                  "[\n {\"instruction\": \"say ]},\",\n  \"output\": \"\\\"]\"},\n"
                  " {\"instruction\": \"b\", \"output\": \"c\", \"more\": {\"x\": [1, 2]}}\n]\n"),
      Section("json", "alpaca"));
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(Values(*list, "output"), ElementsAre("\"]", "c"));
  EXPECT_THAT(Lines(*list), ElementsAre(2, 4));
}

TEST(JsonArray, OneMalformedElementDoesNotTakeTheOthers) {
  DataSection data = Section("json");
  data.skip_malformed = true;
  const auto list = ReadRecords(
      ScratchFile("a", "[{\"text\": \"a\"},\n{\"text\": oops},\n{\"text\": \"b\"}\n"), data);
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(Values(*list, "text"), ElementsAre("a", "b"));
  EXPECT_THAT(list->problems, ElementsAre(HasSubstr("a:2: JSON: syntax error at byte"),
                                          HasSubstr("a:4: the array ends before its ']'")));
}

TEST(JsonArray, AnEmptyArrayHasNoRecordsAndAnythingElseIsMalformed) {
  EXPECT_TRUE(ReadRecords(ScratchFile("a", " [ ] \n"), Section("json"))->records.empty());
  EXPECT_THAT(MessageOf(ReadRecords(ScratchFile("b", "{}"), Section("json")).status()),
              HasSubstr("b:1: want a JSON array"));
  EXPECT_THAT(MessageOf(ReadRecords(ScratchFile("c", "[] x"), Section("json")).status()),
              HasSubstr("c:1: got text after the array"));
}

TEST(Tsv, TheHeaderNamesTheColumns) {
  DataSection data = Classification("tsv");
  data.text_field = "sentence";
  const auto list =
      ReadRecords(ScratchFile("a", "sentence\tlabel\r\nsome \"quoted\t1\r\nother\t0\r\n"), data);
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(Values(*list, "sentence"), ElementsAre("some \"quoted", "other"));
  EXPECT_THAT(Values(*list, "label"), ElementsAre("1", "0"));
  EXPECT_THAT(Lines(*list), ElementsAre(2, 3));
}

TEST(Tsv, WithoutAHeaderThereAreTwoColumns) {
  const auto list = ReadRecords(ScratchFile("a", "first\t1\nsecond\t0\n"), Classification("tsv"));
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_THAT(Values(*list, "text"), ElementsAre("first", "second"));
}

TEST(Tsv, AWrongFieldNameIsAnsweredWithThoseOfTheHeader) {
  const auto list = ReadRecords(ScratchFile("a", "sentence\tlabel\nx\t1\n"), Classification("tsv"));
  EXPECT_THAT(MessageOf(list.status()),
              HasSubstr("a:2: field 'text' is missing; fields present: label, sentence"));
}

TEST(Tsv, ARowWithOtherColumnsIsMalformed) {
  const auto list = ReadRecords(ScratchFile("a", "text\tlabel\nx\t1\ty\n"), Classification("tsv"));
  EXPECT_THAT(MessageOf(list.status()), HasSubstr("a:2: got 3 columns, want 2"));
}

TEST(Records, FormatsThatDoNotFitAreRefusedByName) {
  const auto file = ScratchFile("a", "x");
  EXPECT_THAT(MessageOf(ReadRecords(file, Section("parquet")).status()),
              HasSubstr("data.format: got \"parquet\", want one of text, jsonl, json, tsv"));
  EXPECT_THAT(MessageOf(ReadRecords(file, Section("text", "alpaca")).status()),
              HasSubstr("data.template \"alpaca\""));
  EXPECT_EQ(ReadRecords(file.parent_path() / "absent", Section("text")).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(Chat, MessagesAreChecked) {
  const auto role =
      ReadRecords(ScratchFile("a", "{\"messages\":[{\"role\":\"robot\",\"content\":\"x\"}]}"),
                  Section("jsonl", "chat"));
  EXPECT_THAT(MessageOf(role.status()),
              HasSubstr("a:1: messages[0].role: got \"robot\", want system, user or assistant"));
  const auto nobody =
      ReadRecords(ScratchFile("b", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"),
                  Section("jsonl", "chat"));
  EXPECT_THAT(MessageOf(nobody.status()), HasSubstr("no message of role assistant"));
}

}  // namespace
}  // namespace rivulet
