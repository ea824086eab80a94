// The sum of a round read back from files, without a federation around it.
#include "aggregation/fixed_point_sum.h"
#include "coordinator/rounds/running_round.h"
#include "coordinator/rounds/update_checker.h"
#include "federation_fixture.h"

namespace rivulet {
namespace {

// Stores what a client sent, as an upload does.
ReceivedUpdate Receive(BlobStore& blobs, const Manifest& manifest, const std::string& client,
                       const std::string& file, int64_t weight) {
  UpdateChecker checker(manifest, file.size());
  checker.Feed(std::as_bytes(std::span(file)));
  EXPECT_TRUE(checker.Finish().ok()) << checker.Finish();
  ReceivedUpdate received;
  received.record.client = client;
  received.record.sha256 = *blobs.Put(file);
  received.record.bytes = file.size();
  received.record.weight = weight;
  received.digest = checker.digest();
  return received;
}

void ExpectSameWords(const FixedPointSum* got, const FixedPointSum& want) {
  ASSERT_NE(got, nullptr);
  EXPECT_EQ(got->weight(), want.weight());
  for (size_t row = 0; row < want.manifest().size(); ++row) {
    EXPECT_TRUE(std::ranges::equal(got->words(row), want.words(row))) << row;
  }
}

// Five updates: a group of four, and one alone.
class EarlySumTest : public testing::Test {
 protected:
  void Receive(const std::string& file, const ParameterSet& delta) {
    const auto weight = static_cast<int64_t>(3 * received_.size() + 1);
    const std::string client(1, static_cast<char>('a' + received_.size()));
    received_.push_back(rivulet::Receive(*blobs_, delta.manifest(), client, file, weight));
    records_.push_back(received_.back().record);
    ASSERT_TRUE(want_->Add(delta, weight).ok());
  }

  std::unique_ptr<BlobStore> blobs_ = MakeMemoryBlobStore();
  std::optional<FixedPointSum> want_;
  std::vector<ReceivedUpdate> received_;
  std::vector<UpdateRecord> records_;
};

TEST_F(EarlySumTest, FilesOfDifferentOrdersKeepTheirDigestsAndAddUp) {
  const Manifest manifest = ToyManifest();
  want_ = *FixedPointSum::Make(manifest);
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    const ToyUpdate update = ToyTrain(name, 1, "");
    Receive(received_.size() % 2 == 0 ? update.file : Reordered(update.delta), update.delta);
  }
  RunningRound running(manifest, manifest);
  const absl::Status added = running.Add(*blobs_, received_, false);
  ASSERT_TRUE(added.ok()) << added;
  ExpectSameWords(running.SumWithin(records_), *want_);
}

TEST_F(EarlySumTest, OnOneCoreAndOnAllTheWordsAreThoseOfWholeUpdates) {
  const Manifest manifest = {{"a", DType::kF32, {5}},
                             {"b", DType::kF32, {(1 << 18) + 77}},
                             {"c", DType::kF32, {(1 << 19) + 3}}};
  want_ = *FixedPointSum::Make(manifest);
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    const ToyUpdate update = ToyTrain(name, 1, "", manifest);
    Receive(update.file, update.delta);
  }
  for (const bool side_by_side : {false, true}) {
    RunningRound running(manifest, manifest);
    const absl::Status added = running.Add(*blobs_, received_, side_by_side);
    ASSERT_TRUE(added.ok()) << added;
    ExpectSameWords(running.SumWithin(records_), *want_);
  }
}

TEST_F(EarlySumTest, ADroppedSumTakesNothingMore) {
  const Manifest manifest = ToyManifest();
  want_ = *FixedPointSum::Make(manifest);
  const ToyUpdate update = ToyTrain("a", 1, "");
  Receive(update.file, update.delta);
  RunningRound running(manifest, manifest);
  ASSERT_TRUE(running.Add(*blobs_, received_, false).ok());
  running.DropSum();
  EXPECT_EQ(running.SumWithin(records_), nullptr);
  EXPECT_FALSE(running.Holds(records_[0]));
  EXPECT_EQ(running.Add(*blobs_, received_, false).code(), absl::StatusCode::kFailedPrecondition);
}

// A state is stored in pieces: its name must be that of the whole file.
TEST(SafetensorsPieces, OneAfterTheOtherAreTheFile) {
  const Manifest manifest = {{"a", DType::kF32, {0}},
                             {"b", DType::kF64, {2, 3}},
                             {"c", DType::kF32, {7}},
                             {"d", DType::kF32, {}}};
  ParameterSet set(manifest);
  for (size_t row = 0; row < set.size(); ++row) {
    for (std::byte& byte : set.bytes(row)) byte = static_cast<std::byte>(17 * row + 3);
  }
  for (const ParameterSet& each : {set, ParameterSet(Manifest{}), ToyTrain("a", 1, "").delta}) {
    const SafetensorsPieces pieces = SafetensorsPiecesOf(each);
    std::string file = pieces.head;
    for (const std::span<const std::byte> tensor : pieces.tensors) {
      file.append(reinterpret_cast<const char*>(tensor.data()), tensor.size());
    }
    EXPECT_EQ(file, SafetensorsBytes(each));
  }
}

}  // namespace
}  // namespace rivulet
