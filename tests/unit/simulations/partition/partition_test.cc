#include "simulations/partition/partition.h"

#include <gmock/gmock.h>

#include <map>
#include <set>

#include "peft/data/record_reader.h"
#include "tests/unit/golden_folder.h"

namespace rivulet {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

// Records 0..n-1 with label "even" or "odd" and text "<name>:\nline".
std::vector<Record> SomeRecords(size_t n) {
  std::vector<Record> records;
  const char* names[] = {"ROMEO", "Juliet", "First Citizen"};
  for (size_t at = 0; at < n; ++at) {
    Record record;
    record.fields["text"] = std::string(names[at % 3]) + ":\nline " + std::to_string(at);
    record.fields["label"] = at % 2 == 0 ? "even" : "odd";
    record.line = static_cast<int64_t>(at);
    records.push_back(std::move(record));
  }
  return records;
}

SimulateSection Into(const std::string& partition, int clients = 0) {
  SimulateSection simulate;
  simulate.partition = partition;
  simulate.num_clients = clients;
  return simulate;
}

std::map<std::string, std::vector<uint32_t>> PartsOf(const PartitionResult& result) {
  std::map<std::string, std::vector<uint32_t>> parts;
  for (const ClientPart& client : result.clients) parts[client.name] = client.records;
  return parts;
}

class EveryPartition : public testing::TestWithParam<std::string> {
 protected:
  static absl::StatusOr<PartitionResult> Deal(size_t records, uint64_t seed) {
    SimulateSection simulate = Into(GetParam(), 7);
    if (GetParam() == "by-key") simulate.partition_key = "label";
    return PartitionRecords(SomeRecords(records), simulate, DataSection(), seed);
  }
};

TEST_P(EveryPartition, GivesEveryRecordToExactlyOneClient) {
  for (const size_t records : {7u, 8u, 100u, 1001u}) {
    const auto result = Deal(records, 42);
    ASSERT_TRUE(result.ok()) << result.status();
    std::vector<int> seen(records);
    std::set<std::string> names;
    for (const ClientPart& client : result->clients) {
      EXPECT_TRUE(names.insert(client.name).second) << client.name;
      EXPECT_EQ(client.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"),
                std::string::npos);
      for (uint32_t record : client.records) ++seen.at(record);
    }
    EXPECT_THAT(seen, Each(1));
    EXPECT_TRUE(std::is_sorted(result->clients.begin(), result->clients.end(),
                               [](const auto& a, const auto& b) { return a.name < b.name; }));
  }
}

TEST_P(EveryPartition, IsTheSameForTheSameSeed) {
  EXPECT_EQ(PartsOf(*Deal(300, 9)), PartsOf(*Deal(300, 9)));
}

TEST_P(EveryPartition, ChangesWithTheSeedOnlyWhenItIsRandom) {
  const bool random = GetParam() == "iid" || GetParam() == "dirichlet";
  EXPECT_EQ(PartsOf(*Deal(300, 9)) != PartsOf(*Deal(300, 10)), random);
}

INSTANTIATE_TEST_SUITE_P(All, EveryPartition,
                         testing::Values("by-key", "iid", "dirichlet", "count"),
                         [](const auto& info) {
                           return info.param == "by-key" ? std::string("by_key") : info.param;
                         });

TEST(Count, GivesConsecutiveRunsInFileOrder) {
  const auto result = PartitionRecords(SomeRecords(5), Into("count", 2), DataSection(), 1);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->clients[0].records, ElementsAre(0, 1));
  EXPECT_THAT(result->clients[1].records, ElementsAre(2, 3, 4));
}

TEST(ByKey, APatternOnTheTextNamesTheClients) {
  SimulateSection simulate = Into("by-key");
  simulate.partition_key = "regex:^([^:\n]+):\n";
  const auto result = PartitionRecords(SomeRecords(6), simulate, DataSection(), 1);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->clients.size(), 3u);
  EXPECT_EQ(result->clients[0].name, "first-citizen");
  EXPECT_THAT(result->clients[0].records, ElementsAre(2, 5));
  EXPECT_EQ(result->clients[2].name, "romeo");
}

TEST(ByKey, ARecordWithoutAKeyIsAnErrorUnlessTheJobAllowsIt) {
  SimulateSection simulate = Into("by-key");
  simulate.partition_key = "regex:^(ROMEO|Juliet):";
  DataSection data;
  const auto refused = PartitionRecords(SomeRecords(6), simulate, data, 1);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr(":2: simulate.partition-key: no match"));
  data.skip_malformed = true;
  const auto skipped = PartitionRecords(SomeRecords(6), simulate, data, 1);
  ASSERT_TRUE(skipped.ok()) << skipped.status();
  EXPECT_EQ(skipped->clients.size(), 2u);
  EXPECT_EQ(skipped->malformed, 2);
}

TEST(ByKey, AFieldThatIsNotThereIsAnsweredWithThoseThatAre) {
  SimulateSection simulate = Into("by-key");
  simulate.partition_key = "speaker";
  const auto result = PartitionRecords(SomeRecords(3), simulate, DataSection(), 1);
  EXPECT_THAT(std::string(result.status().message()),
              HasSubstr("field 'speaker' is missing; fields present: label, text"));
}

TEST(ByKey, APatternThatBacktracksWithoutEndIsStopped) {
  SimulateSection simulate = Into("by-key");
  simulate.partition_key = "regex:^(a|aa)+$";
  DataSection data;
  data.skip_malformed = true;  // a pattern at fault is not a record at fault
  Record record;
  record.fields["text"] = std::string(5000, 'a') + "b";
  const auto result = PartitionRecords(std::vector<Record>{record}, simulate, data, 1);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kResourceExhausted) << result.status();
}

TEST(Partition, ClientsBelowTheLeastAreLeftOut) {
  SimulateSection simulate = Into("by-key");
  simulate.partition_key = "regex:^([^:\n]+):\n";
  simulate.min_records = 2;
  const auto result = PartitionRecords(SomeRecords(4), simulate, DataSection(), 1);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->clients.size(), 1u);
  EXPECT_EQ(result->clients[0].name, "romeo");
  simulate.min_records = 3;
  EXPECT_EQ(PartitionRecords(SomeRecords(4), simulate, DataSection(), 1).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

// A text without separator is one record, for one of four clients.
TEST(Partition, ClientsThatAreMissingAreSaid) {
  DataSection data;
  for (const char* partition : {"iid", "count"}) {
    const SimulateSection simulate = Into(partition, 4);
    const auto result = PartitionRecords(SomeRecords(1), simulate, data, 42);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(MissingClients(simulate, data, result->clients.size()),
              "simulate.num-clients: got 4, but only 1 client has simulate.min-records = 1 records "
              "or more; with data.separator = \"\" a file is one record");
    EXPECT_EQ(MissingClients(simulate, data, 4), "");
  }
  EXPECT_EQ(MissingClients(Into("files", 4), data, 1), "");
  data.separator = "%";
  EXPECT_EQ(MissingClients(Into("iid", 4), data, 3),
            "simulate.num-clients: got 4, but only 3 clients have simulate.min-records = 1 records "
            "or more");
}

TEST(Partition, ImpossibleSettingsAreRefusedByKey) {
  const auto message = [](const SimulateSection& simulate) {
    return std::string(
        PartitionRecords(SomeRecords(4), simulate, DataSection(), 1).status().message());
  };
  EXPECT_THAT(message(Into("iid", 0)), HasSubstr("simulate.num-clients: got 0"));
  EXPECT_THAT(message(Into("alphabetical", 2)), HasSubstr("simulate.partition: got"));
  EXPECT_THAT(message(Into("by-key")), HasSubstr("simulate.partition-key: got \"\""));
  SimulateSection alpha = Into("dirichlet", 2);
  alpha.partition_alpha = 0;
  EXPECT_THAT(message(alpha), HasSubstr("simulate.partition-alpha: got 0"));
  SimulateSection pattern = Into("by-key");
  pattern.partition_key = "regex:(";
  EXPECT_THAT(message(pattern), HasSubstr("simulate.partition-key: pattern '(': "));
}

// Counted with Python's re and the same pattern: 299 speakers who say something, 125 blocks in
// which one is named and says nothing.
TEST(TinyShakespeare, FallsIntoItsSpeakers) {
  const auto file = SharedFolder() / "data/text/tinyshakespeare/input.txt";
  RV_SKIP_WITHOUT(file);
  DataSection data;
  data.separator = "\n\n";
  data.skip_malformed = true;
  SimulateSection simulate = Into("by-key");
  simulate.partition_key = "regex:^([^:\n]+):\n";
  const auto list = ReadRecords(file, data);
  ASSERT_TRUE(list.ok()) << list.status();
  const auto result = PartitionRecords(list->records, simulate, data, 1);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->clients.size(), 299u);
  EXPECT_EQ(result->malformed, 125);
  EXPECT_THAT(result->problems[0], HasSubstr("input.txt:400: "));  // "TITUS:" and an empty line
}

}  // namespace
}  // namespace rivulet
