#include <gmock/gmock.h>

#include <cmath>

#include "common/formats/adapter_manifest.h"
#include "common/job/job_document.h"
#include "common/job/job_model.h"
#include "coordinator/rounds/aggregate.h"
#include "coordinator/rounds/update_layout.h"
#include "federation_fixture.h"

// Jobs whose first global state holds tensors of the base model, which the coordinator never sees.

namespace rivulet {
namespace {

using testing::HasSubstr;

constexpr char kBase[] = RIVULET_SOURCE_DIR "/simulations/models/llama-7m";

// A job that trains a module whole which the base model has.
JobSpec WithSavedModule() {
  JobSpec spec;
  spec.model.name = "llama-7m";
  spec.lora.lora_r = 2;
  spec.lora.lora_target_modules = {"q_proj"};
  spec.lora.modules_to_save = {"k_proj"};
  return spec;
}

class SubmitTest : public FederationTest {
 protected:
  // A readable file of these bytes. Readers stay valid: the writers are kept.
  const BlobReader* File(const std::string& bytes) {
    writers_.push_back(*blobs_->Create(bytes.size()));
    EXPECT_TRUE(writers_.back()->Append(std::as_bytes(std::span(bytes))).ok());
    readers_.push_back(*writers_.back()->Reread());
    return readers_.back().get();
  }
  // The toy job whose tensor "a" starts from `values`.
  static std::string ToyFile(std::vector<float> values) {
    ParameterSet set({{"a", DType::kF32, {static_cast<int64_t>(values.size())}}});
    std::copy(values.begin(), values.end(), set.floats(0).begin());
    return SafetensorsBytes(set);
  }
  static std::string DocumentOf(const std::string& file) { return "base " + Sha256Hex(file); }
  absl::Status Refusal(const std::string& document, const BlobReader* file) {
    const absl::Status status = federation_->Submit({document, "token", file}).status();
    EXPECT_TRUE(federation_->List().empty());
    EXPECT_TRUE(blobs_->List()->empty());
    return status;
  }

 private:
  std::vector<std::unique_ptr<BlobWriter>> writers_;
  std::vector<std::unique_ptr<BlobReader>> readers_;
};

TEST_F(SubmitTest, TheFirstStateIsWhatTheBaseModelsFolderWouldGive) {
  const auto document = DescribeJob(kBase, WithSavedModule());
  ASSERT_TRUE(document.ok()) << document.status();
  const auto file = BaseTensorsFile(kBase, *document);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(Sha256Hex(*file), document->base_tensors);
  const auto plan = PlanOf(JobDocumentText(*document));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->from_base.size(), 8u);  // layers
  const auto stored = StoreInitialState(*blobs_, *plan, File(*file));
  ASSERT_TRUE(stored.ok()) << stored.status();

  const ModelFiles files = *ModelFiles::Open(kBase);
  const JobModel model = *DescribeJobModel(kBase, files, WithSavedModule());
  const ParameterSet want = *InitialState(model.plan, 42, &files);
  EXPECT_EQ(stored->state_hash, want.HashHex());
  // Not merely drawn alike: the values are the base model's.
  const int64_t row = want.IndexOf("base_model.model.model.layers.0.self_attn.k_proj.weight");
  ASSERT_GE(row, 0);
  std::vector<float> base(want.floats(row).size());
  CopyAsFloats(*files.Find("model.layers.0.self_attn.k_proj.weight"), base);
  EXPECT_TRUE(std::equal(base.begin(), base.end(), want.floats(row).begin()));
}

// 28 MB travel with the submit; no part of the way has a limit of its own but 16 GiB.
TEST_F(SubmitTest, TheFirstStateOfAWholeModelIsThatModel) {
  JobSpec spec;
  spec.model.name = "llama-7m";
  spec.method = "full";
  const auto document = DescribeJob(kBase, spec);
  ASSERT_TRUE(document.ok()) << document.status();
  const auto file = BaseTensorsFile(kBase, *document);
  ASSERT_TRUE(file.ok()) << file.status();
  const auto plan = PlanOf(JobDocumentText(*document));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->from_base, plan->manifest);
  EXPECT_GT(SizeBytesOf(plan->manifest), 25'000'000u);
  EXPECT_GE(LargestUpdateBytes(plan->from_base), file->size());
  const auto stored = StoreInitialState(*blobs_, *plan, File(*file));
  ASSERT_TRUE(stored.ok()) << stored.status();
  const ModelFiles files = *ModelFiles::Open(kBase);
  const ParameterSet want = *InitialState(DescribeJobModel(kBase, files, spec)->plan, 42, &files);
  EXPECT_EQ(stored->state_hash, want.HashHex());
}

// 2^20 directions of 299,008 numbers: 3.1e11 signs a round, of 6,951,168 7.3e12; as normal numbers
// 14 times as much.
TEST_F(SubmitTest, AJobWhoseRoundsNobodyCanDrawIsRefused) {
  const auto planned = [](const std::string& direction, bool full) {
    JobSpec spec;
    spec.model.name = "llama-7m";
    spec.method = full ? "full" : "lora";
    spec.train.direction = direction;
    spec.scalars.enabled = true;
    spec.scalars.directions = 1 << 20;
    const auto document = DescribeJob(kBase, spec);
    EXPECT_TRUE(document.ok()) << document.status();
    return PlanOf(JobDocumentText(*document)).status();
  };
  EXPECT_TRUE(planned("gauss", false).ok()) << planned("gauss", false);
  EXPECT_TRUE(planned("rademacher", true).ok()) << planned("rademacher", true);
  EXPECT_TRUE(planned("low-rank", true).ok());
  const absl::Status refused = planned("gauss", true);
  EXPECT_EQ(ExitCodeOf(refused), ExitCode::kConfig);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("[scalars]: got 1048576 directions of 6951168 trained numbers"));
}

// The table has no ring of a fifth corrupt and a tenth gone; five corrupt of 50 may be all that a
// sum of four has.
TEST_F(SubmitTest, AMaskedCohortThatTheProtocolHasNoSessionForIsRefused) {
  const auto planned = [](int cohort, double corrupt, double dropped, bool noised, int survivors) {
    JobSpec spec;
    spec.model.name = "llama-7m";
    spec.lora.lora_r = 1;
    spec.job.clients_per_round = cohort;
    spec.job.min_clients = 3;
    spec.strategy.weighting = "uniform";
    spec.secure_aggregation.enabled = true;
    spec.secure_aggregation.corrupt_fraction = corrupt;
    spec.secure_aggregation.dropout_fraction = dropped;
    spec.secure_aggregation.min_survivors = survivors;
    if (noised) {
      spec.data.held_out_fraction = 0;
      spec.privacy.mechanism = "distributed";
      spec.privacy.clip_norm = 1;
      spec.privacy.target_epsilon = 8;
      spec.privacy.target_delta = 1e-5;
    }
    const auto document = DescribeJob(kBase, spec);
    EXPECT_TRUE(document.ok()) << document.status();
    const auto plan = PlanOf(JobDocumentText(*document));
    EXPECT_TRUE(plan.ok()) << plan.status();  // as a job that runs is read at a restart
    return plan.ok() ? CheckNewJob(*plan) : plan.status();
  };
  EXPECT_EQ(planned(300, 0.1, 0.2, false, 4), absl::OkStatus());
  EXPECT_EQ(planned(256, 0.2, 0.1, false, 4), absl::OkStatus()) << "everybody with everybody";
  const absl::Status ring = planned(300, 0.2, 0.1, false, 4);
  EXPECT_EQ(ExitCodeOf(ring), ExitCode::kConfig);
  EXPECT_THAT(std::string(ring.message()),
              HasSubstr("secure-aggregation.corrupt-fraction = 0.2 and dropout-fraction = 0.1: the "
                        "protocol has no ring of job.clients-per-round = 300"));
  EXPECT_EQ(planned(0, 0.2, 0.1, true, 4), absl::OkStatus()) << "known when a round opens";
  EXPECT_EQ(planned(50, 0.1, 0.2, true, 6), absl::OkStatus());
  const absl::Status unsure = planned(50, 0.1, 0.2, true, 4);
  EXPECT_EQ(ExitCodeOf(unsure), ExitCode::kConfig);
  EXPECT_THAT(std::string(unsure.message()),
              HasSubstr("4 clients in a sum, at least: of 50 there may be 5 that add no noise"));
  EXPECT_THAT(std::string(unsure.message()), HasSubstr("min-survivors of at least 6"));
}

TEST_F(SubmitTest, ADocumentMustNameBaseTensorsExactlyWhereItNeedsThem) {
  JobDocument document = *DescribeJob(kBase, WithSavedModule());
  document.base_tensors.clear();
  absl::Status status = PlanOf(JobDocumentText(document)).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_THAT(std::string(status.message()), HasSubstr("k_proj.weight F32 [128,256]"));
  JobSpec plain = WithSavedModule();
  plain.lora.modules_to_save.clear();
  document = *DescribeJob(kBase, plain);
  EXPECT_TRUE(document.base_tensors.empty());
  document.base_tensors = std::string(64, 'a');
  status = PlanOf(JobDocumentText(document)).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_THAT(std::string(status.message()), HasSubstr("want no such key"));
}

TEST_F(SubmitTest, ARestartBeforeTheFirstRoundNeedsNoFile) {
  const std::string file = ToyFile({1.5f, -2, 3, 4});
  std::vector<std::string> hashes;
  for (const bool restart : {false, true}) {
    states_ = MakeMemoryStateStore();
    blobs_ = MakeMemoryBlobStore();
    gateway_.orders.clear();
    Start(ToySpec());
    const auto id = federation_->Submit({DocumentOf(file), "token", File(file)});
    ASSERT_TRUE(id.ok()) << id.status();
    EXPECT_NE(Show(*id).state_hash, "");
    if (restart) Restart(ToySpec());
    Connect({"a", "b", "c"});
    ASSERT_TRUE(ToyRun(*federation_, gateway_).ok());
    EXPECT_EQ(Show(*id).state, JobState::kFinished) << Show(*id).reason;
    hashes.push_back(Show(*id).state_hash);
  }
  EXPECT_EQ(hashes[0], hashes[1]);
}

TEST_F(SubmitTest, AFileThatIsNotWhatTheDocumentNamesIsRefusedAndLeavesNothing) {
  Start(ToySpec());
  const std::string file = ToyFile({1, 2, 3, 4});
  absl::Status status = Refusal(DocumentOf(file), nullptr);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_THAT(std::string(status.message()), HasSubstr("base tensors: got no bytes, want"));
  status = Refusal(DocumentOf(file), File(ToyFile({1, 2, 3, 5})));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr(Sha256Hex(file)));
  status = Refusal(DocumentOf(file), File(file.substr(0, file.size() - 4)));
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  const std::string longer = ToyFile({1, 2, 3, 4, 5});
  status = Refusal(DocumentOf(longer), File(longer));
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a F32 [5]"));
  const std::string half = SafetensorsBytes(ParameterSet({{"a", DType::kF16, {4}}}));
  EXPECT_EQ(ExitCodeOf(Refusal(DocumentOf(half), File(half))), ExitCode::kConfig);
  const std::string nan = ToyFile({1, 2, std::nanf(""), 4});
  status = Refusal(DocumentOf(nan), File(nan));
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_THAT(std::string(status.message()), HasSubstr("nan"));
}

TEST_F(SubmitTest, NeedsAreKnownBeforeAByteIsStored) {
  Start(ToySpec());
  EXPECT_EQ(federation_->NeedsOf({"toy", ""})->base_tensors, 0u);
  const std::string file = ToyFile({1, 2, 3, 4});
  const JobSubmission submission{DocumentOf(file), "token", File(file)};
  const SubmitNeeds needs = *federation_->NeedsOf(submission);
  EXPECT_EQ(needs.job, "");
  EXPECT_GE(needs.base_tensors, file.size());
  EXPECT_LE(needs.base_tensors, file.size() + (1 << 20));  // the data and the longest header
  const std::string id = *federation_->Submit(submission);
  EXPECT_EQ(federation_->NeedsOf(submission)->job, id);
  EXPECT_EQ(federation_->NeedsOf({"toy", "token"}).status().code(),
            absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace rivulet
