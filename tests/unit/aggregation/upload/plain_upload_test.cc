#include "aggregation/upload/plain_upload.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "aggregation/codec/linear.h"
#include "common/random.h"

namespace rivulet {
namespace {

JobSpec SpecOf(const std::string& codec, double fraction = 0.05) {
  JobSpec spec;
  spec.job.seed = 11;
  spec.compression.codec = codec;
  spec.compression.fraction = fraction;
  return spec;
}

// Twenty tensors of 1 .. 20 numbers: 210 in all.
Manifest Stairs() {
  Manifest manifest;
  for (int64_t size = 1; size <= 20; ++size) {
    manifest.push_back({"t" + std::to_string(10 + size), DType::kF32, {size}});
  }
  return manifest;
}

ParameterSet Filled(const Manifest& manifest, float value) {
  ParameterSet set(manifest);
  for (size_t row = 0; row < set.size(); ++row) std::ranges::fill(set.floats(row), value);
  return set;
}

uint64_t NumbersIn(const Manifest& manifest, const std::vector<uint32_t>& rows) {
  uint64_t sum = 0;
  for (const uint32_t row : rows) sum += static_cast<uint64_t>(manifest[row].elements());
  return sum;
}

TEST(PlainUpload, IsCodedWithACodecOrZstdAndNeverUnderMasks) {
  EXPECT_FALSE(IsCoded(SpecOf("none")));
  EXPECT_TRUE(IsCoded(SpecOf("int8")));
  JobSpec spec = SpecOf("none");
  spec.compression.zstd = true;
  EXPECT_TRUE(IsCoded(spec));
  spec.secure_aggregation.enabled = true;
  EXPECT_FALSE(IsCoded(spec));
}

TEST(PlainUpload, SettingsAreTheJobs) {
  JobSpec spec = SpecOf("count-sketch", 0.25);
  spec.compression.bits = 6;
  spec.compression.rank = 3;
  spec.compression.zstd = true;
  const CodecSettings settings = CodecSettingsOf(spec, Stairs());
  EXPECT_EQ(settings.name, "count-sketch");
  EXPECT_EQ(settings.fraction, 0.25);
  EXPECT_EQ(settings.bits, 6u);
  EXPECT_EQ(settings.rank, 3u);
  EXPECT_TRUE(settings.zstd);
  EXPECT_TRUE(settings.error_feedback);
  EXPECT_EQ(settings.rows * settings.columns, 55u);  // a quarter of 210 is 52.5: eleven columns
  spec.privacy.mechanism = "central";
  EXPECT_FALSE(CodecSettingsOf(spec, Stairs()).error_feedback);
}

TEST(PlainUpload, EveryCodecOfTheJobFileCanBeMade) {
  for (const char* codec :
       {"none", "bf16", "fp16", "int8", "int4", "int2", "sign", "top-k", "random-k", "public-top-k",
        "rotate-lattice", "low-rank", "count-sketch", "fed-obd"}) {
    EXPECT_TRUE(JobCodec(SpecOf(codec), Stairs()).ok()) << codec;
  }
  JobSpec spec = SpecOf("rotate-lattice");
  spec.compression.bits = 24;
  const absl::Status wide = JobCodec(spec, Stairs()).status();
  EXPECT_EQ(wide.message(), "compression.bits: got 24, want 2..16");
  EXPECT_EQ(ExitCodeOf(wide), ExitCode::kConfig);
}

TEST(PlainUpload, MovementIsTheDifferenceAndWhatIsNotFiniteHasNotMoved) {
  ParameterSet state = Filled(Stairs(), 3), initial = Filled(Stairs(), 1);
  state.floats(4)[2] = std::numeric_limits<float>::infinity();
  state.floats(4)[3] = std::numeric_limits<float>::quiet_NaN();
  const ParameterSet moved = MovementOf(state, initial);
  EXPECT_EQ(moved.floats(4)[1], 2);
  EXPECT_EQ(moved.floats(4)[2], 0);
  EXPECT_EQ(moved.floats(4)[3], 0);
}

TEST(PublicBlocks, StayWithinTheirShareAndLeaveNobodyBehind) {
  const Manifest manifest = Stairs();
  ParameterSet moved = Filled(manifest, 0);
  moved.floats(9)[0] = 5;   // 10 numbers
  moved.floats(19)[0] = 1;  // 20 numbers, least of all for its size
  std::set<uint32_t> seen;
  for (uint64_t round = 2; round < 200; ++round) {
    const auto blocks = PublicBlocks(manifest, &moved, 0.2, 7, round);
    EXPECT_TRUE(std::is_sorted(blocks.begin(), blocks.end()));
    EXPECT_LE(NumbersIn(manifest, blocks), 42u);
    EXPECT_EQ(blocks, PublicBlocks(manifest, &moved, 0.2, 7, round));
    seen.insert(blocks.begin(), blocks.end());
    // What moved most is there unless the one that was drawn leaves no room for it.
    const bool room = std::find(blocks.begin(), blocks.end(), 9) != blocks.end();
    EXPECT_TRUE(room) << round;
  }
  EXPECT_EQ(seen.size(), manifest.size());  // fails by chance once in 10^3: the seeds are fixed
}

TEST(PublicBlocks, AreDrawnWhenNothingMovedAndNeverNone) {
  const Manifest manifest = Stairs();
  const auto drawn = PublicBlocks(manifest, nullptr, 0.5, 7, 1);
  EXPECT_LE(NumbersIn(manifest, drawn), 105u);
  EXPECT_GE(NumbersIn(manifest, drawn), 86u);  // otherwise one more of at most 20 would fit
  EXPECT_NE(drawn, PublicBlocks(manifest, nullptr, 0.5, 7, 2));
  EXPECT_EQ(PublicBlocks(manifest, nullptr, 0.001, 7, 1), std::vector<uint32_t>{0});
  EXPECT_TRUE(PublicBlocks({}, nullptr, 0.5, 7, 1).empty());
  std::vector<uint32_t> all(manifest.size());
  std::iota(all.begin(), all.end(), 0u);
  EXPECT_EQ(PublicBlocks(manifest, nullptr, 1, 7, 1), all);
}

TEST(PublicContext, HasTheRoundsRandomnessAndFromRoundTwoOnWhatMoved) {
  const Manifest manifest = Stairs();
  const JobSpec spec = SpecOf("public-top-k");
  const PublicContext first(spec, manifest, 1, nullptr, nullptr);
  EXPECT_EQ(first.context().root, RootOf(11, 1, ""));
  EXPECT_EQ(first.context().round, 1u);
  EXPECT_EQ(first.context().previous, nullptr);
  const ParameterSet initial = Filled(manifest, 1), state = Filled(manifest, 4);
  const PublicContext second(spec, manifest, 2, &initial, &state);
  ASSERT_NE(second.context().previous, nullptr);
  EXPECT_EQ(second.context().previous->floats(3)[0], 3);
  EXPECT_TRUE(second.context().blocks.empty());
  const PublicContext blocks(SpecOf("fed-obd", 0.3), manifest, 2, &initial, &state);
  EXPECT_FALSE(blocks.context().blocks.empty());
  EXPECT_EQ(PublicContext(SpecOf("int8"), manifest, 2, nullptr, nullptr).context().previous,
            nullptr);
}

}  // namespace
}  // namespace rivulet
