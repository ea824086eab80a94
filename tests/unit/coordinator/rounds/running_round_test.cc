// What is known of updates before their round closes: the checker that sees them arrive and the sum
// that grows meanwhile. Whatever way the sum was made, the model is the same.
#include "coordinator/rounds/running_round.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "coordinator/rounds/update_checker.h"
#include "federation_fixture.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

const Manifest& KeptManifest() {
  static const Manifest manifest = ToyManifest();
  return manifest;
}

TEST(UpdateChecker, SeesTheSameHoweverTheBytesAreCut) {
  const ToyUpdate update = ToyTrain("a", 1, "");
  ValuesDigest want;
  uint64_t position = 0;
  for (size_t row = 0; row < update.delta.size(); ++row) {
    want.Add(position, update.delta.floats(row));
    position += update.delta.floats(row).size();
  }
  for (size_t cut = 1; cut <= update.file.size(); ++cut) {
    for (const bool skewed : {false, true}) {
      UpdateChecker checker(KeptManifest(), update.file.size());
      std::string room(cut + 1, ' ');
      for (size_t done = 0; done < update.file.size(); done += cut) {
        const std::string piece = update.file.substr(done, cut);
        std::copy(piece.begin(), piece.end(), room.begin() + (skewed ? 1 : 0));
        checker.Feed(std::as_bytes(std::span(room)).subspan(skewed ? 1 : 0, piece.size()));
      }
      EXPECT_TRUE(checker.Finish().ok()) << cut << ": " << checker.Finish();
      EXPECT_EQ(checker.digest(), want) << cut;
    }
  }
}

TEST(UpdateChecker, NamesTheFirstBadValueHoweverTheBytesAreCut) {
  ToyUpdate update = ToyTrain("a", 1, "");
  update.delta.floats(1)[4] = kNan;
  update.delta.floats(1)[5] = 128.0f;
  const std::string file = SafetensorsBytes(update.delta);
  for (const size_t cut : {size_t{1}, size_t{3}, size_t{64}, file.size()}) {
    UpdateChecker checker(KeptManifest(), file.size());
    for (size_t done = 0; done < file.size(); done += cut) {
      const std::string piece = file.substr(done, cut);
      checker.Feed(std::as_bytes(std::span(piece)));
    }
    const absl::Status status = checker.Finish();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(),
              "update: b[4]: got nan, want a finite value below 128 in magnitude");
    EXPECT_EQ(RemedyOf(status), Remedy::kLeaveRun);
  }
}

TEST(UpdateChecker, AFileThatWasNotSeenToItsEndIsNotWhole) {
  const std::string file = ToyTrain("a", 1, "").file;
  for (const size_t size : {size_t{0}, size_t{5}, size_t{40}, file.size() - 4, file.size() - 1}) {
    UpdateChecker checker(KeptManifest(), file.size());
    checker.Feed(std::as_bytes(std::span(file)).first(size));
    const absl::Status status = checker.Finish();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << size;
    EXPECT_EQ(status.message(), "update: got " + std::to_string(size) + " bytes to check, want " +
                                    std::to_string(file.size()));
  }
  UpdateChecker checker(KeptManifest(), file.size());
  checker.Feed(std::as_bytes(std::span(file)));
  checker.Feed(std::as_bytes(std::span(file)).first(1));
  EXPECT_EQ(checker.Finish().code(), absl::StatusCode::kDataLoss);
}

const std::vector<std::string>& Names() {
  static const std::vector<std::string> names = {"a", "b", "c", "d", "e", "f"};
  return names;
}

// One round of six, on a directory whose files a test can spoil.
class RunningRoundTest : public FederationTest {
 protected:
  void SetUp() override {
    fs::remove_all(directory_);
    Begin();
  }
  void TearDown() override {
    federation_.reset();
    fs::remove_all(directory_);
  }

  // Six tasks are out.
  void Begin() {
    federation_.reset();
    states_ = MakeMemoryStateStore();
    blobs_ = *OpenDirectoryBlobStore(directory_);
    gateway_.orders.clear();
    Start(Spec());
    Connect(Names());
    id_ = Submit();
    OpenFirstRound();
    orders_.assign(gateway_.orders.begin(), gateway_.orders.end());
    ASSERT_EQ(orders_.size(), Names().size());
  }

  static JobSpec Spec() {
    JobSpec spec = ToySpec();
    spec.job.num_rounds = 1;
    spec.job.min_clients = spec.job.min_available_clients = 6;
    return spec;
  }

  // Uploads orders [first, last).
  void UploadSome(size_t first, size_t last) {
    for (size_t order = first; order < last; ++order) {
      const auto receipt = Upload(orders_[order]);
      ASSERT_TRUE(receipt.ok()) << receipt.status();
      receipts_[orders_[order].client] = *receipt;
    }
  }

  // Turns one value of a stored update into another that fits too.
  void Spoil(const std::string& client) {
    const fs::path path = directory_ / "blob" / receipts_[client].sha256;
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const float other = 0.125f;
    file.seekp(-4, std::ios::end);
    file.write(reinterpret_cast<const char*>(&other), sizeof other);
    ASSERT_TRUE(file.flush());
  }

  std::string HashOfRoundOne() {
    federation_->Tick();
    EXPECT_EQ(Show(id_).round, 1u) << Show(id_).reason;
    return Show(id_).state_hash;
  }

  const fs::path directory_ = Scratch();
  std::string id_;
  std::vector<ToyGateway::Order> orders_;
  std::map<std::string, Receipt> receipts_;
};

TEST_F(RunningRoundTest, TheModelIsTheSameWhetherItWasSummedMeanwhileAtTheEndOrAfterARestart) {
  UploadSome(0, 6);
  const std::string at_the_end = HashOfRoundOne();

  Begin();
  UploadSome(0, 5);
  federation_->Tick();  // four of them are summed
  UploadSome(5, 6);
  EXPECT_EQ(HashOfRoundOne(), at_the_end);

  Begin();
  UploadSome(0, 5);
  federation_->Tick();
  Restart(Spec());  // the sum is lost, the updates are not
  UploadSome(5, 6);
  EXPECT_EQ(HashOfRoundOne(), at_the_end);
}

TEST_F(RunningRoundTest, AFileThatChangedBeforeItWasSummedFailsTheJobByItsHash) {
  UploadSome(0, 4);
  Spoil("c");
  UploadSome(4, 6);
  federation_->Tick();
  EXPECT_EQ(Show(id_).state, JobState::kFailed);
  EXPECT_NE(Show(id_).reason.find(receipts_["c"].sha256), std::string::npos) << Show(id_).reason;
}

TEST_F(RunningRoundTest, AFileThatChangesAfterItWasSummedDoesNoHarm) {
  UploadSome(0, 6);
  const std::string undisturbed = HashOfRoundOne();
  Begin();
  UploadSome(0, 4);
  federation_->Tick();
  Spoil("c");
  UploadSome(4, 6);
  EXPECT_EQ(HashOfRoundOne(), undisturbed);
}

TEST_F(RunningRoundTest, TheStateIsReadAndVerifiedByAProcessThatDidNotMakeIt) {
  UploadSome(0, 6);
  const std::string undisturbed = HashOfRoundOne();
  const auto spoil_parent = [this] {
    std::ofstream(directory_ / "blob" / orders_[0].task.state_sha256, std::ios::trunc) << "rubbish";
  };
  Begin();
  spoil_parent();
  UploadSome(0, 6);
  EXPECT_EQ(HashOfRoundOne(), undisturbed);

  Begin();
  UploadSome(0, 5);
  Restart(Spec());
  spoil_parent();
  UploadSome(5, 6);
  federation_->Tick();
  EXPECT_EQ(Show(id_).state, JobState::kFailed);
}

TEST_F(RunningRoundTest, AnAbandonedAttemptLeavesNothingInTheSumOfTheNext) {
  const auto upload_others = [this](size_t first, size_t last) {
    for (size_t order = first; order < last; ++order) {
      const auto& [client, task] = orders_[order];
      const ToyUpdate other = ToyTrain("another " + client, 1, task.state_sha256);
      const auto receipt = ToyUpload(*federation_, client, task, other);
      ASSERT_TRUE(receipt.ok()) << receipt.status();
    }
  };
  upload_others(0, 6);
  const std::string undisturbed = HashOfRoundOne();
  Begin();
  UploadSome(0, 4);
  federation_->Tick();  // they are summed
  gateway_.orders.clear();
  Pass(seconds(101));  // six were wanted
  orders_.assign(gateway_.orders.begin(), gateway_.orders.end());
  ASSERT_EQ(orders_.size(), 6u);
  ASSERT_EQ(orders_[0].task.attempt, 2u);
  upload_others(0, 5);
  federation_->Tick();
  upload_others(5, 6);
  EXPECT_EQ(HashOfRoundOne(), undisturbed);
}

TEST_F(RunningRoundTest, AnAdditionThatFailedBreaksTheSumForGood) {
  UploadSome(0, 1);
  UpdateRecord record;
  record.client = "a";
  record.sha256 = receipts_["a"].sha256;
  record.weight = 1;
  RunningRound running(KeptManifest(), KeptManifest());
  EXPECT_EQ(running.Add(*blobs_, std::vector<ReceivedUpdate>{{record, {}}}, false).code(),
            absl::StatusCode::kDataLoss);  // another digest
  EXPECT_FALSE(running.Holds(record));
  EXPECT_EQ(running.SumWithin({}), nullptr);
  EXPECT_EQ(running.Add(*blobs_, {}, false).code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace rivulet
