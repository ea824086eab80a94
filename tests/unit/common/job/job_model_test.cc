#include "common/job/job_model.h"

#include <gtest/gtest.h>

namespace rivulet {
namespace {

constexpr char kBase[] = RIVULET_SOURCE_DIR "/simulations/models/llama-7m";

JobSpec AllLinear() {
  JobSpec spec;
  spec.model.name = "llama-7m";
  spec.lora.lora_target_modules = {"all-linear"};
  return spec;
}

// 7 modules a layer, 8 layers, A and B each; 299,008 parameters as HF PEFT counts them for r 8.
TEST(JobModel, DocumentGivesTheManifestThatTheFolderGives) {
  const auto document = DescribeJob(kBase, AllLinear());
  ASSERT_TRUE(document.ok()) << document.status();
  const auto model = JobModelOf(*document);
  ASSERT_TRUE(model.ok()) << model.status();
  const Manifest manifest = model->plan.wire();
  EXPECT_EQ(manifest.size(), 112u);
  EXPECT_EQ(SizeBytesOf(manifest), 4u * 299008);
  const auto files = ModelFiles::Open(kBase);
  EXPECT_TRUE(
      SameManifest(DescribeJobModel(kBase, *files, AllLinear())->plan.wire(), manifest).ok());
}

TEST(JobModel, HashIsFilledInAndAnotherModelIsRefused) {
  JobSpec spec = AllLinear();
  const auto document = DescribeJob(kBase, spec);
  ASSERT_TRUE(document.ok());
  EXPECT_EQ(document->spec.model.hash, document->base_hash);
  spec.model.hash = "sha256:" + std::string(64, '0');
  const absl::Status status = DescribeJob(kBase, spec).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kPolicy);
  EXPECT_NE(std::string(status.message()).find(document->base_hash), std::string::npos);
}

TEST(JobModel, MisspeltTargetIsRefusedBeforeAnythingIsSent) {
  JobSpec spec = AllLinear();
  spec.lora.lora_target_modules = {"q_prj"};
  const absl::Status status = DescribeJob(kBase, spec).status();
  EXPECT_NE(std::string(status.message()).find("q_proj"), std::string::npos) << status;
}

}  // namespace
}  // namespace rivulet
