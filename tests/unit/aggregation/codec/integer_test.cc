#include "tests/unit/aggregation/codec/codec_fixtures.h"

namespace rivulet {
namespace {

struct IntegerCase {
  std::string name;
  double levels;  // steps from 0 to absmax
  uint32_t bits;
  size_t block;
};
const IntegerCase kIntegerCases[] = {
    {"int8", 127, 8, 256}, {"int4", 7, 4, 64}, {"int2", 1.5, 2, 64}};

TEST(IntegerCodecs, EveryNumberIsWithinAStepOfItsBlock) {
  const ParameterSet update = NormalUpdate(VectorOf(5000), 1);
  SeededRounding rounding(2);
  const CodecContext context{.rounding = &rounding};
  for (const IntegerCase& each : kIntegerCases) {
    const auto codec = CodecFor({.name = each.name});
    const auto payload = codec->Encode(update, context);
    ASSERT_TRUE(payload.ok());
    const std::vector<float> x = FlatCopy(update),
                             y = FlatCopy(Decoded(*codec, *payload, update.manifest(), context));
    for (size_t first = 0; first < x.size(); first += each.block) {
      const size_t end = std::min(x.size(), first + each.block);
      float absmax = 0;
      for (size_t at = first; at < end; ++at) absmax = std::max(absmax, std::fabs(x[at]));
      for (size_t at = first; at < end; ++at) {
        ASSERT_LT(std::fabs(x[at] - y[at]), absmax / each.levels * 1.0001) << each.name << at;
      }
    }
  }
}

TEST(IntegerCodecs, PackedLengthIsScalesAndWholeBytes) {
  for (const IntegerCase& each : kIntegerCases) {
    const auto codec = CodecFor({.name = each.name});
    for (const size_t d : {0, 1, 3, 64, 65, 256, 257, 16384, 16385, 40001}) {
      const ParameterSet update = NormalUpdate(VectorOf(static_cast<int64_t>(d)), 3);
      SeededRounding rounding(4);
      const auto payload = codec->Encode(update, {.rounding = &rounding});
      ASSERT_TRUE(payload.ok());
      const size_t blocks = (d + each.block - 1) / each.block;
      EXPECT_EQ(payload->size(), 32 + 4 * blocks + (d * each.bits + 7) / 8) << each.name << d;
      EXPECT_EQ(payload->size(), codec->MaxEncodedBytes(update.manifest()));
    }
  }
}

// Levels of a block are hit without rounding: absmax, and for int2 thirds of it.
TEST(IntegerCodecs, LevelsAreExact) {
  SeededRounding rounding(5);
  const CodecContext context{.rounding = &rounding};
  const auto expect_exact = [&](const std::string& name, const std::vector<float>& values) {
    const auto codec = CodecFor({.name = name});
    const ParameterSet update = UpdateOf(values);
    const auto payload = codec->Encode(update, context);
    ASSERT_TRUE(payload.ok());
    EXPECT_EQ(FlatCopy(Decoded(*codec, *payload, update.manifest(), context)), values) << name;
  };
  expect_exact("int8", {127, -127, 0, 1, -1, 64, -63});
  expect_exact("int4", {7, -7, 0, 3, -5});
  expect_exact("int2", {3, -3, 1, -1});
}

TEST(IntegerCodecs, UnusedCodesAndFillingBitsAreRefused) {
  SeededRounding rounding(6);
  const CodecContext context{.rounding = &rounding};
  const ParameterSet update = UpdateOf({1, 2, 3});
  for (const auto& [name, byte] :
       {std::pair<std::string, char>{"int8", '\x80'}, {"int4", '\xF0'}, {"int2", '\xC0'}}) {
    const auto codec = CodecFor({.name = name});
    std::string payload = *codec->Encode(update, context);
    ParameterSet out(update.manifest());
    EXPECT_TRUE(codec->Decode(payload, context, out).ok());
    payload.back() = name == "int8" ? byte : static_cast<char>(payload.back() | byte);
    EXPECT_EQ(codec->Decode(payload, context, out).code(), absl::StatusCode::kInvalidArgument)
        << name;
  }
}

TEST(IntegerCodecs, TinyBlocksBecomeZeroNotNonsense) {
  SeededRounding rounding(6);
  const CodecContext context{.rounding = &rounding};
  const ParameterSet update = UpdateOf({0x1p-149f, -0x1p-130f, 0x1p-100f});
  for (const IntegerCase& each : kIntegerCases) {
    const auto codec = CodecFor({.name = each.name});
    for (const float value :
         FlatCopy(Decoded(*codec, *codec->Encode(update, context), update.manifest(), context))) {
      EXPECT_EQ(value, 0.0f);
    }
  }
}

TEST(HalfCodecs, RoundToNearestEvenAndRefuseOverflow) {
  const auto fp16 = CodecFor({.name = "fp16"}), bf16 = CodecFor({.name = "bf16"});
  // 1 + 2^-11 and 1 + 3 2^-11 lie between two halves; subnormal multiples of 2^-24 are exact.
  const ParameterSet update = UpdateOf({1 + 0x1p-11f, 1 + 0x3p-11f, 65504, 0x3p-24f, -0x1p-25f});
  EXPECT_EQ(FlatCopy(Decoded(*fp16, *fp16->Encode(update, {}), update.manifest(), {})),
            (std::vector<float>{1, 1 + 0x1p-9f, 65504, 0x3p-24f, -0.0f}));
  const ParameterSet brain = UpdateOf({1 + 0x1p-8f, 1 + 0x3p-8f, 70000});
  EXPECT_EQ(FlatCopy(Decoded(*bf16, *bf16->Encode(brain, {}), brain.manifest(), {})),
            (std::vector<float>{1, 1 + 0x1p-6f, 70144}));
  EXPECT_EQ(fp16->Encode(UpdateOf({65505}), {}).status().code(), absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace rivulet
