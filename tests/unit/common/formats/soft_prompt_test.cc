#include "common/formats/soft_prompt.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/random.h"
#include "tests/unit/common/formats/described_folder.h"
#include "tests/unit/common/formats/golden.h"

namespace rivulet {
namespace {

// PEFT 0.21.2 wrote these.
TEST(AdapterPlan, PromptsHaveTheNamesAndShapesThatPeftWrites) {
  const auto golden = GoldenFolder();
  for (const char* base : {"llama", "bert"}) {
    JobSpec job = PromptJob();
    if (std::string(base) == "bert") job.data.task = "classification";
    const Manifest got = Describe(golden / "models" / base, job).model.plan.wire();
    const Manifest want = ManifestOfFile(golden / "adapters" / (base + std::string("_prompt")) /
                                         "adapter_model.safetensors");
    EXPECT_TRUE(SameManifest(got, want).ok()) << SameManifest(got, want);
  }
}

TEST(InitialState, APromptIsMadeOfEmbeddingsThatTheSeedChooses) {
  const auto base = GoldenFolder() / "models" / "llama";
  JobSpec job = PromptJob();
  const Folder folder = Describe(base, job);
  const ParameterSet state = *InitialState(folder.model.plan, 42, &folder.files);
  const std::vector<int64_t>& rows = folder.model.plan.prompt->rows;
  ASSERT_EQ(rows.size(), 5u);
  const TensorView* table = folder.files.Find("model.embed_tokens.weight");
  std::vector<float> embedding(table->spec.elements());
  CopyAsFloats(*table, embedding);
  for (size_t token = 0; token < 5; ++token) {
    for (size_t column = 0; column < 64; ++column)
      ASSERT_EQ(state.floats(0)[token * 64 + column], embedding[rows[token] * 64 + column]);
  }
  job.job.seed = 43;
  EXPECT_NE(Describe(base, job).model.plan.prompt->rows, rows);
  EXPECT_EQ(InitialState(folder.model.plan, 42).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

// The export of z is start + A z, A drawn again by the formula of soft_prompt.h.
TEST(InitialState, ASubspaceTravelsAndItsPromptIsExported) {
  const auto base = GoldenFolder() / "models" / "llama";
  JobSpec job = PromptJob();
  const Folder plain = Describe(base, job);
  const ParameterSet start = *InitialState(plain.model.plan, 42, &plain.files);
  job.prompt.subspace = 7;
  const Folder folder = Describe(base, job);
  const AdapterPlan& plan = folder.model.plan;
  EXPECT_EQ(plan.wire(), (Manifest{{"prompt_subspace", DType::kF32, {7}}}));
  EXPECT_EQ(plan.full(), plain.model.plan.full());
  EXPECT_TRUE(plan.from_base().empty());
  ParameterSet wire = *InitialState(plan, 42);
  for (float value : wire.floats(0)) EXPECT_EQ(value, 0);
  EXPECT_EQ(CompleteState(plan, 42, wire, &folder.files)->HashHex(), start.HashHex());
  EXPECT_EQ(CompleteState(plan, 42, wire).status().code(), absl::StatusCode::kFailedPrecondition);

  wire.floats(0)[2] = 0.5f;
  wire.floats(0)[6] = -2;
  const ParameterSet full = *CompleteState(plan, 42, wire, &folder.files);
  std::vector<float> normal(5 * 64 * 7);
  RandomStream(42, Purpose::kInitialValues, 2).FillGauss(0, normal);
  double squares = 0;
  for (float value : start.floats(0)) squares += double{value} * value;
  const double scale = std::sqrt(squares / (5 * 64) / 7);
  for (size_t i = 0; i < 5 * 64; ++i) {
    const double want =
        start.floats(0)[i] + scale * (0.5 * normal[7 * i + 2] - 2 * normal[7 * i + 6]);
    EXPECT_NEAR(full.floats(0)[i], want, 1e-6);
  }
}

// z ~ N(0, I) moves a number by N(0, s^2): here over 320 numbers and one z, so that the mean square
// has a relative deviation of at most sqrt(2 / 320) + sqrt(2 / 300) = 0.16; 0.8 is 5 of those. The
// seed is fixed.
TEST(SoftPrompt, ANormalCoordinateMovesThePromptAtItsOwnScale) {
  std::vector<float> start(320), z(300);
  RandomStream(1, Purpose::kBaseTensor, 0).FillGauss(0, start);
  for (float& value : start) value *= 0.05f;
  RandomStream(1, Purpose::kBaseTensor, 1).FillGauss(0, z);
  std::vector<float> prompt = start;
  MoveInSubspace(9, z, prompt);
  double moved = 0, size = 0;
  for (size_t i = 0; i < start.size(); ++i) {
    moved += std::pow(prompt[i] - start[i], 2);
    size += std::pow(start[i], 2);
  }
  EXPECT_NEAR(moved / size, 1, 0.8);
}

}  // namespace
}  // namespace rivulet
