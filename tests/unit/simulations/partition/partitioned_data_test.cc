#include <gmock/gmock.h>

#include <filesystem>

#include "simulations/partition/data_files.h"
#include "simulations/partition/partition.h"
#include "tests/unit/peft/data/scratch_file.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

// A folder as Debian's fortunes: topics, indices, links.
fs::path Fortunes() {
  const fs::path folder = ScratchFile("art", "one\n%\ntwo\n%\nthree").parent_path();
  ScratchFile("Men-Women", "four\n%\nfive");
  ScratchFile("tiny", "x");
  ScratchFile("art.dat", "not a topic");
  ScratchFile(".hidden", "not a topic");
  fs::remove(folder / "art.u8");
  fs::create_symlink("art", folder / "art.u8");
  fs::remove(folder / "link");
  fs::create_symlink("art", folder / "link");
  fs::create_directories(folder / "below");
  return folder;
}

DataSection Topics() {
  DataSection data;
  data.separator = "\n%\n";
  return data;
}

TEST(DataFiles, OfAFolderAreItsRegularFilesOfEnoughBytes) {
  const fs::path folder = Fortunes();
  EXPECT_THAT(*ListDataFiles(folder.string(), 2),
              ElementsAre(folder / "Men-Women", folder / "art"));
  EXPECT_THAT(*ListDataFiles((folder / "a*").string(), 0), ElementsAre(folder / "art"));
  EXPECT_THAT(*ListDataFiles((folder / "tiny").string(), 100), ElementsAre(folder / "tiny"));
}

TEST(DataFiles, NoneLeftIsAnErrorNamingPathAndSize) {
  const fs::path folder = Fortunes();
  const auto none = ListDataFiles(folder.string(), 1 << 20);
  EXPECT_EQ(none.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("at least 1048576 bytes"));
  EXPECT_EQ(ListDataFiles("", 0).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(PartitionedData, OneClientAFileReadsItsOwnRecords) {
  SimulateSection simulate;
  simulate.dataset_path = Fortunes().string();
  simulate.min_records = 2;
  const auto data = PartitionedData::Open(simulate, Topics(), 1);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->names(), ElementsAre("art", "men-women"));
  const auto records = data->Records("men-women");
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->size(), 2u);
  EXPECT_EQ((*records)[1].fields.at("text"), "five");
  EXPECT_EQ(data->Records("tiny").status().code(), absl::StatusCode::kNotFound);
}

TEST(PartitionedData, OtherPartitionsDealTheRecordsOfAllFiles) {
  SimulateSection simulate;
  simulate.dataset_path = Fortunes().string();
  simulate.partition = "count";
  simulate.num_clients = 2;
  const auto data = PartitionedData::Open(simulate, Topics(), 1);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->names(), ElementsAre("client-0", "client-1"));
  EXPECT_EQ(data->Records("client-0")->size() + data->Records("client-1")->size(), 6u);
}

TEST(PartitionedData, LabelsAreThoseOfAllClients) {
  ScratchFile("a.tsv", "x\tno\n");
  SimulateSection simulate;
  simulate.dataset_path = ScratchFile("b.tsv", "y\tyes\nz\tmaybe\n").parent_path().string();
  DataSection section;
  section.format = "tsv";
  section.task = "classification";
  for (const char* partition : {"files", "count"}) {
    simulate.partition = partition;
    simulate.num_clients = 2;
    const auto data = PartitionedData::Open(simulate, section, 1);
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_THAT(data->labels(), ElementsAre("maybe", "no", "yes")) << partition;
  }
  section.labels = {"yes", "no", "maybe"};
  EXPECT_THAT(PartitionedData::Open(simulate, section, 1)->labels(),
              ElementsAre("yes", "no", "maybe"));
}

TEST(PartitionedData, SkippedRecordsAreCountedAndNamed) {
  SimulateSection simulate;
  simulate.dataset_path = ScratchFile("a.jsonl", "{\"text\":\"x\"}\n{]\n").string();
  DataSection section;
  section.format = "jsonl";
  EXPECT_THAT(std::string(PartitionedData::Open(simulate, section, 1).status().message()),
              HasSubstr("a.jsonl:2: JSON: syntax error at byte"));
  section.skip_malformed = true;
  const auto data = PartitionedData::Open(simulate, section, 1);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->malformed(), 1);
  EXPECT_THAT(data->problems(), ElementsAre(HasSubstr("a.jsonl:2")));
}

TEST(PartitionedData, TheQuickstartHasThirtyFourTopics) {
  const std::string folder = "/usr/share/games/fortunes";
  if (!fs::exists(folder + "/art")) GTEST_SKIP() << "no fortunes under " << folder;
  SimulateSection simulate;
  simulate.dataset_path = folder;
  simulate.min_file_bytes = 15'000;
  const auto data = PartitionedData::Open(simulate, Topics(), 42);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->names().size(), 34u);
}

}  // namespace
}  // namespace rivulet
