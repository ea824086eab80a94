#include "tests/unit/aggregation/codec/codec_fixtures.h"

namespace rivulet {
namespace {

Manifest FourBlocks() {
  return {{"a", DType::kF32, {100}},
          {"b", DType::kF32, {1000}},
          {"c", DType::kF32, {30}},
          {"d", DType::kF32, {200}}};
}

TEST(FedObdCodec, SendsTheNamedTensorsAlone) {
  const auto codec = CodecFor({.name = "fed-obd"});
  const ParameterSet update = NormalUpdate(FourBlocks(), 1);
  const std::vector<uint32_t> blocks = {1, 2};
  const CodecContext context{.blocks = blocks};
  const auto payload = codec->Encode(update, context);
  ASSERT_TRUE(payload.ok());
  const ParameterSet decoded = Decoded(*codec, *payload, update.manifest(), context);
  for (const size_t absent : {0, 3}) EXPECT_EQ(SquaresOf(decoded.floats(absent)), 0);
  for (const size_t sent : {1, 2}) {
    EXPECT_LT(SquaredDistance(decoded.floats(sent), update.floats(sent)),
              0.005 * SquaresOf(update.floats(sent)));
  }
}

// J(b) = relative squared error + 0.001 b is least near six bits for normal numbers; with seven
// tenths of the blocks kept the upload is below an eighth of f32.
TEST(FedObdCodec, TakesAboutSixBits) {
  const auto codec = CodecFor({.name = "fed-obd"});
  const ParameterSet update = NormalUpdate(FourBlocks(), 1);
  const std::vector<uint32_t> blocks = {1};
  const auto payload = codec->Encode(update, {.blocks = blocks});
  ASSERT_TRUE(payload.ok());
  const int bits = (*payload)[32];
  EXPECT_GE(bits, 5);
  EXPECT_LE(bits, 7);
  EXPECT_EQ(payload->size(), 32u + 3 + (1000 * static_cast<size_t>(bits) + 7) / 8);
}

TEST(FedObdCodec, APriceForBitsBuysFewerOfThem) {
  const ParameterSet update = NormalUpdate(FourBlocks(), 1);
  const std::vector<uint32_t> blocks = {0, 1, 2, 3};
  size_t last = std::numeric_limits<size_t>::max();
  for (const double weight : {0.0, 0.0001, 0.001, 0.01, 1.0}) {
    const auto codec = CodecFor({.name = "fed-obd", .size_weight = weight});
    const size_t size = codec->Encode(update, {.blocks = blocks})->size();
    EXPECT_LT(size, last) << weight;
    last = size;
  }
}

TEST(FedObdCodec, NamesThatAreNoTensorsAreRefused) {
  const auto codec = CodecFor({.name = "fed-obd"});
  const ParameterSet update = NormalUpdate(FourBlocks(), 1);
  for (const std::vector<uint32_t>& blocks :
       {std::vector<uint32_t>{4}, {1, 1}, {2, 1}, {0, 4294967295u}}) {
    const CodecContext context{.blocks = blocks};
    EXPECT_EQ(codec->Encode(update, context).status().code(), absl::StatusCode::kInvalidArgument);
    ParameterSet out(update.manifest());
    const std::string empty = *codec->Encode(update, {});
    EXPECT_EQ(codec->Decode(empty, context, out).code(), absl::StatusCode::kInvalidArgument);
  }
}

// ||.|| / numbers: c 30/30, a 50/100, d 20/200, b 40/1000.
TEST(ChooseBlocks, TakesTheMostImportantThatFit) {
  ParameterSet aggregate(FourBlocks());
  aggregate.floats(0)[0] = 50, aggregate.floats(1)[0] = 40;
  aggregate.floats(2)[0] = -30, aggregate.floats(3)[0] = 20;
  EXPECT_EQ(ChooseBlocks(aggregate, 1), (std::vector<uint32_t>{0, 1, 2, 3}));
  EXPECT_EQ(ChooseBlocks(aggregate, 0.3), (std::vector<uint32_t>{0, 2, 3}));  // 399 of 1330
  EXPECT_EQ(ChooseBlocks(aggregate, 0.2), (std::vector<uint32_t>{0, 2}));     // 266
  EXPECT_EQ(ChooseBlocks(aggregate, 0.05), (std::vector<uint32_t>{2}));       // 66
  EXPECT_EQ(ChooseBlocks(aggregate, 0), (std::vector<uint32_t>{}));
  // One that does not fit is passed over: with c too large, a comes.
  aggregate.floats(3)[0] = 20000;
  EXPECT_EQ(ChooseBlocks(aggregate, 0.1), (std::vector<uint32_t>{0, 2}));
}

}  // namespace
}  // namespace rivulet
