#include "tests/unit/aggregation/codec/codec_fixtures.h"

namespace rivulet {
namespace {

// A root whose first `count` rotation signs are all plus: D = I.
uint64_t RootWithoutFlips(uint32_t count) {
  for (uint64_t root = 0;; ++root) {
    const RandomStream stream(root, Purpose::kRotation, 0);
    if ((stream.Block(0, 0).word[0] & ((1u << count) - 1)) == 0) return root;
  }
}

// y = H x / 2 = (5, -1, -2, 0), zero counts as plus, S = 30 / 8.
TEST(DriveCodec, MatchesTheExampleByHand) {
  const CodecContext context{.root = RootWithoutFlips(4)};
  const auto codec = CodecFor({.name = "drive"});
  const ParameterSet update = UpdateOf({1, 2, 3, 4});
  const auto payload = codec->Encode(update, context);
  ASSERT_TRUE(payload.ok());
  ASSERT_EQ(payload->size(), 32u + 4 + 1);
  float scale = 0;
  std::memcpy(&scale, payload->data() + 32, 4);
  EXPECT_EQ(scale, 3.75f);
  EXPECT_EQ(payload->back(), 0b0110);
  EXPECT_EQ(FlatCopy(Decoded(*codec, *payload, update.manifest(), context)),
            (std::vector<float>{0, 0, 0, 7.5f}));
}

double NmseOf(const CodecSettings& settings, const ParameterSet& update) {
  SeededRounding rounding(1);
  const CodecContext context{.root = 5, .rounding = &rounding};
  const auto codec = CodecFor(settings);
  const std::vector<float> x = FlatCopy(update);
  const std::vector<float> y =
      FlatCopy(Decoded(*codec, *codec->Encode(update, context), update.manifest(), context));
  return SquaredDistance(x, y) / SquaresOf(x);
}

// <x, decoded> = ||x||^2 makes the estimate unbiased under a uniform rotation; its squared error is
// then 1 / c - 1 with c the correlation of a normal number and its centroid, whatever the update
// looks like (here: heavy tails, one tensor much larger than the other). Two whole blocks: padding
// would take its share of the error.
TEST(EdenCodec, ErrorsAreThoseOfTheBestQuantiser) {
  ParameterSet update = NormalUpdate({{"a", DType::kF32, {70000}}, {"b", DType::kF32, {61072}}}, 1);
  for (float& value : update.floats(0)) value = value * value * value * 1e5f;
  const double want[] = {.570796, .133121, .035784, .009592};
  for (uint32_t bits = 1; bits <= 4; ++bits) {
    EXPECT_NEAR(NmseOf({.name = "eden", .bits = bits}, update) / want[bits - 1], 1, 0.02) << bits;
  }
  EXPECT_NEAR(NmseOf({.name = "drive"}, update) / want[0], 1, 0.02);
}

TEST(EdenCodec, KeepsTheInnerProduct) {
  const ParameterSet update = NormalUpdate(VectorOf(3000), 2);
  const std::vector<float> x = FlatCopy(update);
  const CodecContext context{.root = 6};
  for (const CodecSettings& settings :
       {CodecSettings{.name = "drive"}, CodecSettings{.name = "eden", .bits = 3}}) {
    const auto codec = CodecFor(settings);
    const std::vector<float> y =
        FlatCopy(Decoded(*codec, *codec->Encode(update, context), update.manifest(), context));
    double product = 0;
    for (size_t at = 0; at < x.size(); ++at) product += double{x[at]} * double{y[at]};
    EXPECT_NEAR(product / SquaresOf(x), 1, 1e-5) << settings.name;
  }
}

// Stochastic rounding has variance s^2 f (1 - f), s^2 / 6 on average; s = absmax / L with absmax
// about 4.3 sigma for blocks of 65536.
TEST(RotateLatticeCodec, ErrorFollowsTheBits) {
  const ParameterSet update = NormalUpdate(VectorOf(1 << 17), 3);
  for (const uint32_t bits : {4u, 6u, 8u, 12u}) {
    const double step = 4.3 / ((1 << (bits - 1)) - 1);
    EXPECT_NEAR(NmseOf({.name = "rotate-lattice", .bits = bits}, update) / (step * step / 6), 1,
                0.25)
        << bits;
  }
}

TEST(RotateLatticeCodec, PackedLengthIsTheBitsOfWholeBlocks) {
  SeededRounding rounding(1);
  for (const uint32_t bits : {2u, 5u, 8u, 11u}) {
    const auto codec = CodecFor({.name = "rotate-lattice", .bits = bits, .block_log2 = 6});
    const auto bound =
        CodecFor({.name = "rotate-lattice", .bits = bits, .block_log2 = 6, .bound = 1});
    for (const size_t d : {1, 5, 64, 65, 1000}) {
      const ParameterSet update = NormalUpdate(VectorOf(static_cast<int64_t>(d)), 4);
      const size_t size = std::min<size_t>(64, std::bit_ceil(d));
      const size_t blocks = (d + size - 1) / size;
      const size_t packed = (blocks * size * bits + 7) / 8;
      EXPECT_EQ(codec->Encode(update, {.rounding = &rounding})->size(), 32 + 4 * blocks + packed);
      EXPECT_EQ(bound->Encode(update, {.rounding = &rounding})->size(), 32 + packed);
    }
  }
}

// With a public bound coordinates beyond it are clamped, all others are within a step.
TEST(RotateLatticeCodec, ClampsAtThePublicBound) {
  SeededRounding rounding(1);
  const CodecContext context{.root = RootWithoutFlips(1), .rounding = &rounding};
  const auto codec = CodecFor({.name = "rotate-lattice", .bits = 4, .bound = 2});
  const ParameterSet update = UpdateOf({50});  // a block of one number: rotation is the identity
  EXPECT_EQ(FlatCopy(Decoded(*codec, *codec->Encode(update, context), update.manifest(), context)),
            (std::vector<float>{2}));
}

TEST(LowRankCodec, AMatrixOfThatRankComesBack) {
  ParameterSet update({{"m", DType::kF32, {64, 48}}});
  const ParameterSet u = NormalUpdate(VectorOf(64), 1), v = NormalUpdate(VectorOf(48), 2);
  for (size_t at = 0; at < 64 * 48; ++at) {
    update.floats(0)[at] = u.floats(0)[at / 48] * v.floats(0)[at % 48];
  }
  EXPECT_LT(NmseOf({.name = "low-rank", .values = "f32", .rank = 1}, update), 1e-10);
  EXPECT_LT(NmseOf({.name = "low-rank", .rank = 1}, update), 1e-4);  // bf16
}

}  // namespace
}  // namespace rivulet
