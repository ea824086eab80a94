#include "common/job/job_model.h"

#include <gtest/gtest.h>

#include <fstream>
#include <regex>

#include "common/formats/safetensors.h"
#include "common/io/file.h"
#include "tests/unit/scratch.h"

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

// 1024 is max_position_embeddings of the base model.
TEST(JobModel, SequencesLongerThanTheModelReadsAreRefusedByBothSides) {
  JobSpec spec = AllLinear();
  spec.data.seq_length = 1024;
  auto document = DescribeJob(kBase, spec);
  ASSERT_TRUE(document.ok()) << document.status();
  const std::string want =
      "data.seq-length: got 1025, want at most 1024, the longest sequence of the base model "
      "(max_position_embeddings = 1024)";
  spec.data.seq_length = document->spec.data.seq_length = 1025;
  for (const absl::Status& status :
       {DescribeJob(kBase, spec).status(), JobModelOf(*document).status()}) {
    EXPECT_EQ(status.message(), want);
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  }
}

TEST(JobModel, VirtualTokensTakePositionsOfTheSequence) {
  JobSpec spec = AllLinear();
  spec.method = "prompt";
  spec.prompt.num_virtual_tokens = 24;
  spec.data.seq_length = 1000;
  const auto document = DescribeJob(kBase, spec);
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_TRUE(JobModelOf(*document).ok());
  spec.data.seq_length = 1001;
  EXPECT_EQ(DescribeJob(kBase, spec).status().message(),
            "data.seq-length: got 1001, want at most 1000, the longest sequence of the base model "
            "(max_position_embeddings = 1024) behind 24 virtual tokens");
}

// What the coordinator makes of the document and the file of base tensors is what the folder gives.
TEST(JobModel, APromptStartsFromTheBaseModelsEmbeddingEverywhere) {
  JobSpec spec = AllLinear();
  spec.method = "prompt";
  const auto document = DescribeJob(kBase, spec);
  ASSERT_TRUE(document.ok()) << document.status();
  const auto file = BaseTensorsFile(kBase, *document);
  ASSERT_TRUE(file.ok()) << file.status();
  const AdapterPlan remote = JobModelOf(*document)->plan;
  const auto files = ModelFiles::Open(kBase);
  const AdapterPlan local = DescribeJobModel(kBase, *files, spec)->plan;
  const Manifest manifest = remote.from_base();
  ASSERT_EQ(manifest.size(), 1u);
  EXPECT_EQ(InitialState(remote, 42, *ReadParameterSet(*file, &manifest))->HashHex(),
            InitialState(local, 42, &*files)->HashHex());
}

TEST(JobModel, ASearchOfManyNumbersIsRefusedByBothSides) {
  JobSpec spec = AllLinear();
  spec.method = "prompt";
  spec.train.estimator = "cma-es";
  spec.prompt.subspace = 1024;
  auto document = DescribeJob(kBase, spec);
  ASSERT_TRUE(document.ok()) << document.status();
  spec.prompt.subspace = document->spec.prompt.subspace = 1025;
  for (const absl::Status& status :
       {DescribeJob(kBase, spec).status(), JobModelOf(*document).status()}) {
    EXPECT_EQ(status.message(),
              "train.estimator: got \"cma-es\" for 1025 trained numbers, want at most 1024: a "
              "[prompt] with subspace = 1024 or less");
  }
}

TEST(JobModel, MisspeltTargetIsRefusedBeforeAnythingIsSent) {
  JobSpec spec = AllLinear();
  spec.lora.lora_target_modules = {"q_prj"};
  const absl::Status status = DescribeJob(kBase, spec).status();
  EXPECT_NE(std::string(status.message()).find("q_proj"), std::string::npos) << status;
}

// A copy of the base model whose configuration is changed by `pattern` -> `text`.
std::filesystem::path Changed(const std::string& pattern, const std::string& text) {
  const auto folder = ScratchFolder();
  std::filesystem::copy_file(std::filesystem::path(kBase) / "model.safetensors",
                             folder / "model.safetensors");
  const std::string config =
      *ReadFile(std::filesystem::path(kBase) / "config.json", uint64_t{1} << 20);
  std::ofstream(folder / "config.json") << std::regex_replace(config, std::regex(pattern), text);
  return folder;
}

JobSpec Classification() {
  JobSpec spec = AllLinear();
  spec.data.task = "classification";
  spec.data.format = "tsv";
  return spec;
}

TEST(JobModel, ClassesComeFromTheJobOrTheBaseModelsHeadAndAreNeverGuessed) {
  absl::Status status = DescribeJob(kBase, Classification()).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);
  EXPECT_NE(std::string(status.message()).find("data.labels: got none"), std::string::npos);
  EXPECT_NE(std::string(status.message()).find("rivulet simulate fills in"), std::string::npos);

  const std::string head = "\"LlamaForSequenceClassification\"";
  const auto named = Changed("\"LlamaForCausalLM\"\\s*\\]",
                             head + R"(], "id2label": {"0": "ham", "1": "spam", "2": "odd"})");
  const auto document = DescribeJob(named, Classification());
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_EQ(document->spec.data.labels, (std::vector<std::string>{"ham", "spam", "odd"}));

  const auto unnamed = Changed("\"LlamaForCausalLM\"\\s*\\]", head + "]");
  status = DescribeJob(unnamed, Classification()).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kConfig);  // LABEL_0, LABEL_1 are no names
  JobSpec given = Classification();
  given.data.labels = {"a", "b"};
  EXPECT_TRUE(DescribeJob(unnamed, given).ok());
}

}  // namespace
}  // namespace rivulet
