// On a device: the bits of common/direction on the CPU, and the golden values of the design.
#include "common/direction/cuda/direction_cuda.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <numeric>
#include <string>

#include "common/direction/cuda/rank_one_replay_cuda.h"
#include "common/direction/directions.h"
#include "tests/unit/common/direction/cuda/device_buffer.h"

namespace rivulet {
namespace {

using testing::DeviceBuffer;

constexpr uint64_t kRoot = 0x0123456789ABCDEF;  // of the golden values

class OnCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const absl::Status found = CheckCuda(); !found.ok()) GTEST_SKIP() << found.message();
  }
};

std::vector<uint32_t> BitsOf(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  std::memcpy(bits.data(), values.data(), 4 * values.size());
  return bits;
}

// The place of the first difference, and its sides, rather than a million numbers.
template <typename T>
void ExpectSame(const std::vector<T>& got, const std::vector<T>& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], want[i]) << what << ", element " << i;
}
void ExpectSame(const std::vector<float>& got, const std::vector<float>& want,
                const std::string& what) {
  ExpectSame(BitsOf(got), BitsOf(want), what);
}

std::vector<float> Normal(size_t n, uint64_t index) {
  std::vector<float> values(n);
  RandomStream(5, Purpose::kBaseTensor, index).FillGauss(0, values);
  return values;
}
std::vector<uint16_t> Halves(const std::vector<float>& values) {
  std::vector<uint16_t> halves;
  for (uint32_t bits : BitsOf(values)) halves.push_back(static_cast<uint16_t>(bits >> 16));
  return halves;
}

std::vector<float> DrawnOnCuda(const DirectionSettings& settings, uint64_t index,
                               const TensorPart& part, int64_t count) {
  DeviceBuffer<float> out(std::vector<float>(count, 7));
  const DevicePart parts[] = {{part, count, 0}};
  EXPECT_TRUE(FillDirectionCuda({settings, kRoot, index}, parts, out.get(), nullptr).ok());
  return out.Read();
}

TEST_F(OnCuda, WordsAreThoseOfTheStream) {
  const RandomStream stream(kRoot, Purpose::kDirection, 0);
  const uint64_t carry = uint64_t{1} << 32;
  for (uint64_t first : {uint64_t{0}, uint64_t{77}, carry - 40}) {
    std::vector<uint32_t> want;
    for (uint64_t block = first; block < first + 1000; ++block) {
      for (uint32_t word : stream.Block(block, 7).word) want.push_back(word);
    }
    DeviceBuffer<uint32_t> out(std::vector<uint32_t>(want.size()));
    ASSERT_TRUE(FillWordsCuda(stream, 7, first, {out.get(), want.size()}, nullptr).ok());
    ExpectSame(out.Read(), want, "from block " + std::to_string(first));
    if (first == 0) {
      EXPECT_EQ(out.Read()[0], 0x718dac9au);  // the golden table's first
    }
  }
}

TEST_F(OnCuda, GaussMatchesTheGoldenTable) {
  const DirectionSettings gauss{DirectionKind::kGauss};
  ExpectSame(BitsOf(DrawnOnCuda(gauss, 0, {0, 4, 1}, 4)),
             std::vector<uint32_t>{0x3F53F144, 0xBE1CA4BC, 0xBEA9EAEE, 0x3FCA482A}, "tensor 0");
  ExpectSame(BitsOf(DrawnOnCuda(gauss, 0, {7, 4, 1}, 4)),
             std::vector<uint32_t>{0x3F082AB5, 0xBF945492, 0x3EDFF56C, 0xBF2368E6}, "tensor 7");
  uint32_t folded = 0;
  uint64_t sum = 0;
  for (uint32_t bits : BitsOf(DrawnOnCuda(gauss, 0, {0, 1 << 20, 1}, 1 << 20))) {
    folded ^= bits;
    sum += bits;
  }
  EXPECT_EQ(folded, 0xF0309837u);
  EXPECT_EQ(sum, 0x0007F0D62CF2D181u);
}

TEST_F(OnCuda, SignsMatchTheGoldenTable) {
  std::string text;
  int64_t plus = 0;
  const std::vector<float> z =
      DrawnOnCuda({DirectionKind::kRademacher}, 0, {0, 1 << 20, 1}, 1 << 20);
  for (size_t i = 0; i < 16; ++i) text += z[i] == 1 ? '+' : z[i] == -1 ? '-' : '?';
  for (float value : z) plus += value > 0;
  EXPECT_EQ(text, "++--+-+--+----++");
  EXPECT_EQ(plus, 524641);
  // a = "+-+-", b = "----+-".
  text.clear();
  for (float value : DrawnOnCuda({DirectionKind::kLowRank, 1}, 0, {7, 4, 6}, 24)) {
    text += value == 1 ? '+' : value == -1 ? '-' : '?';
  }
  EXPECT_EQ(text, "----+-++++-+----+-++++-+");
}

// Every quadrant and exponent, and numbers that the golden table's million does not have.
TEST_F(OnCuda, SixteenMillionNormalNumbersHaveTheBitsOfTheCpu) {
  const TensorPart part{5, 1 << 24, 1};
  std::vector<float> want(part.elements());
  MakeDirection({DirectionKind::kGauss}, kRoot, 9)->Fill(part, want);
  ExpectSame(DrawnOnCuda({DirectionKind::kGauss}, 9, part, part.elements()), want, "gauss");
}

constexpr DirectionSettings kAll[] = {{DirectionKind::kRademacher},
                                      {DirectionKind::kGauss},
                                      {DirectionKind::kLowRank, 1},
                                      {DirectionKind::kLowRank, 3},
                                      {DirectionKind::kLowRank, 4}};

class DirectionOnCuda : public ::testing::TestWithParam<DirectionSettings> {
 protected:
  void SetUp() override {
    if (const absl::Status found = CheckCuda(); !found.ok()) GTEST_SKIP() << found.message();
  }
  DirectionAddress At(uint64_t index) const { return {GetParam(), kRoot, index}; }
};
INSTANTIATE_TEST_SUITE_P(All, DirectionOnCuda, ::testing::ValuesIn(kAll), [](const auto& info) {
  return "kind" + std::to_string(static_cast<int>(info.param.kind)) + "rank" +
         std::to_string(info.param.rank);
});

// Parts that start and end anywhere, in places of a buffer that are aligned and that are not; more
// of them than one launch takes. What is around them stays.
std::vector<DevicePart> ManyParts(size_t& size) {
  std::vector<DevicePart> parts;
  int64_t offset = 3;
  const auto add = [&](TensorPart part, int64_t count, int64_t gap) {
    parts.push_back({part, count, offset});
    offset += count + gap;
  };
  add({3, 37, 91}, 37 * 91, 1);
  add({4, 1, 5000}, 5000, 0);
  add({4, 5000, 1, 17}, 4000, 8);
  offset = (offset + 7) / 8 * 8;
  add({9, 64, 256}, 64 * 256, 0);  // whole tiles, aligned
  add({10, 64, 2052}, 64 * 2052, 0);
  add({11, 300, 100, 1029}, 20001, 2);
  add({12, 3, 3}, 0, 0);
  for (uint32_t tensor = 20; tensor < 70; ++tensor)
    add({tensor, 9, 14 + tensor % 3}, 126, tensor % 2);
  size = static_cast<size_t>(offset) + 5;
  return parts;
}

TEST_P(DirectionOnCuda, EveryUseHasTheBitsOfTheCpu) {
  size_t size = 0;
  const std::vector<DevicePart> parts = ManyParts(size);
  const std::vector<float> base = Normal(size, 1);
  std::vector<float> drawn(size, 7), moved = base, both = base;
  std::vector<uint16_t> half = Halves(base), half_both = half;
  const auto z = MakeDirection(GetParam(), kRoot, 5), next = MakeDirection(GetParam(), kRoot, 6);
  for (const DevicePart& part : parts) {
    const auto of = [&](auto& buffer) {
      return std::span(buffer).subspan(part.offset, part.count);
    };
    z->Fill(part.part, of(drawn));
    AddDirection(*z, part.part, 0.01f, of(moved));
    AddDirection(*z, part.part, 0.01f, of(half));
  }
  both = moved;
  half_both = half;
  for (const DevicePart& part : parts) {
    AddDirection(*next, part.part, -0.3f, std::span(both).subspan(part.offset, part.count));
    AddDirection(*next, part.part, -0.3f, std::span(half_both).subspan(part.offset, part.count));
  }

  const std::vector<float> sevens(size, 7);
  DeviceBuffer<float> device_drawn(sevens), in_place(base), source(base), copy(base), w(base),
      out(base), w_out(base);
  DeviceBuffer<uint16_t> half_in_place(Halves(base)), half_w(Halves(base)), half_out(Halves(base)),
      half_source(Halves(base)), half_copy(Halves(base));
  ASSERT_TRUE(FillDirectionCuda(At(5), parts, device_drawn.get(), nullptr).ok());
  ASSERT_TRUE(AddDirectionCuda(At(5), parts, 0.01f, in_place.get(), in_place.get(), nullptr).ok());
  ASSERT_TRUE(AddDirectionCuda(At(5), parts, 0.01f, source.get(), copy.get(), nullptr).ok());
  ASSERT_TRUE(
      AddDirectionCuda(At(5), parts, 0.01f, half_in_place.get(), half_in_place.get(), nullptr)
          .ok());
  ASSERT_TRUE(
      AddDirectionCuda(At(5), parts, 0.01f, half_source.get(), half_copy.get(), nullptr).ok());
  const MoveAndPerturb step{At(5), 0.01f, At(6), -0.3f};
  ASSERT_TRUE(MoveAndPerturbCuda(step, parts, w.get(), out.get(), nullptr).ok());
  ASSERT_TRUE(MoveAndPerturbCuda(step, parts, w_out.get(), w_out.get(), nullptr).ok());
  ASSERT_TRUE(MoveAndPerturbCuda(step, parts, half_w.get(), half_out.get(), nullptr).ok());

  ExpectSame(device_drawn.Read(), drawn, "fill");
  ExpectSame(in_place.Read(), moved, "add in place");
  ExpectSame(source.Read(), base, "base");
  ExpectSame(copy.Read(), moved, "add into a copy");
  ExpectSame(half_in_place.Read(), half, "bfloat16 in place");
  ExpectSame(half_source.Read(), Halves(base), "bfloat16 base");
  ExpectSame(half_copy.Read(), half, "bfloat16 into a copy");
  ExpectSame(w.Read(), moved, "moved");
  ExpectSame(out.Read(), both, "moved and perturbed");
  ExpectSame(w_out.Read(), both, "moved and perturbed in place");
  ExpectSame(half_w.Read(), half, "bfloat16 moved");
  ExpectSame(half_out.Read(), half_both, "bfloat16 moved and perturbed");
}

TEST_P(DirectionOnCuda, ReplayHasTheBitsOfMovingFromZeros) {
  const Manifest manifest = {{"a", DType::kF32, {37, 91}},
                             {"b", DType::kF32, {5000}},
                             {"c", DType::kF32, {64, 256}},
                             {"d", DType::kF32, {7, 2051}}};
  const std::vector<DevicePart> parts = DevicePartsOf(manifest);
  for (int count : {1, 3, 4, 130}) {
    const Directions directions(GetParam(), kRoot, manifest);
    std::vector<float> want(directions.size());
    const std::vector<float> coefficients = Normal(count, 3), base = Normal(want.size(), 4);
    std::vector<uint64_t> indices(coefficients.size());
    std::iota(indices.begin(), indices.end(), 400);
    directions.Move(indices, coefficients, want);
    for (size_t i = 0; i < want.size(); ++i) want[i] = base[i] + want[i];
    DeviceBuffer<float> w(base);
    ASSERT_TRUE(ReplayDirectionsCuda(At(400), coefficients, parts, w.get(), nullptr).ok());
    ExpectSame(w.Read(), want, std::to_string(count) + " directions");
  }
}

TEST_P(DirectionOnCuda, ReplayOfAPartIsAPartOfTheReplay) {
  const std::vector<float> coefficients = Normal(10, 3);
  const TensorPart whole{2, 50, 70};
  DeviceBuffer<float> all(std::vector<float>(3500)), some(std::vector<float>(1009));
  const DevicePart every[] = {{whole, 3500, 0}};
  const DevicePart middle[] = {{{2, 50, 70, 1313}, 1007, 1}};
  ASSERT_TRUE(ReplayDirectionsCuda(At(0), coefficients, every, all.get(), nullptr).ok());
  ASSERT_TRUE(ReplayDirectionsCuda(At(0), coefficients, middle, some.get(), nullptr).ok());
  std::vector<float> want(1009);
  const std::vector<float> from = all.Read();
  std::copy_n(from.begin() + 1313, 1007, want.begin() + 1);
  ExpectSame(some.Read(), want, "part");
}

TEST_F(OnCuda, PartsBeyondATensorAreRefused) {
  DeviceBuffer<float> w(std::vector<float>(10));
  const DirectionAddress z{{DirectionKind::kRademacher}, kRoot, 0};
  for (const DevicePart& part :
       {DevicePart{{0, 2, 3}, 7, 0}, {{0, 2, 3, 4}, 3, 0}, {{0, 2, 3, -1}, 2, 0}}) {
    EXPECT_EQ(FillDirectionCuda(z, {&part, 1}, w.get(), nullptr).code(),
              absl::StatusCode::kInvalidArgument);
  }
}

// Before a device is asked for anything.
TEST(DirectionCuda, SubspacesFlippedSignsAndSharedFactorsAreDrawnOnTheCpuAlone) {
  const DevicePart part{{0, 2, 3}, 6, 0};
  const std::vector<float> coefficients(2, 1.0f);
  float* const nowhere = nullptr;
  for (const DirectionSettings& kind : {DirectionSettings{DirectionKind::kSubspace, 2},
                                        {DirectionKind::kFlipped, 2},
                                        {DirectionKind::kLowRank, 2, 50}}) {
    const DirectionAddress z{kind, kRoot, 0};
    for (const absl::Status& refused :
         {FillDirectionCuda(z, {&part, 1}, nowhere, nullptr),
          AddDirectionCuda(z, {&part, 1}, 1, nowhere, nowhere, nullptr),
          ReplayDirectionsCuda(z, coefficients, {&part, 1}, nowhere, nullptr)}) {
      EXPECT_EQ(refused.code(), absl::StatusCode::kUnimplemented) << refused;
    }
  }
}

class RankOneOnCuda : public OnCuda {
 protected:
  static std::vector<float> Replayed(const FixedPoint& coefficients, const TensorPart& matrix,
                                     uint64_t index, const std::vector<float>& base) {
    const auto replay = RankOneReplayCuda::Make();
    EXPECT_TRUE(replay.ok()) << replay.status();
    DeviceBuffer<float> w(base);
    const DirectionAddress first{{DirectionKind::kLowRank, 1}, kRoot, index};
    const absl::Status done = (*replay)->Add(first, coefficients, matrix, w.get(), nullptr);
    EXPECT_TRUE(done.ok()) << done;
    return w.Read();
  }
};

TEST_F(RankOneOnCuda, ReplayMatchesTheGoldenTable) {
  EXPECT_EQ(Replayed({{100, -7, 3}, 0}, {7, 2, 3}, 0, std::vector<float>(6)),
            (std::vector<float>{-96, -90, -90, 104, 110, 110}));
}

// Sizes on and off multiples of 16, 32 and 128; coefficients of both signs up to the largest.
TEST_F(RankOneOnCuda, ReplayHasTheBitsOfTheCpu) {
  for (const TensorPart& matrix :
       {TensorPart{3, 1, 1}, {3, 67, 5}, {5, 3, 1030}, {1, 200, 1}, {2, 256, 384}, {2, 333, 257}}) {
    for (int count : {1, 16, 700}) {
      FixedPoint coefficients;
      coefficients.exponent = -40;
      for (int k = 0; k < count; ++k) {
        const int32_t value =
            kLargestFixed - static_cast<int32_t>(k * int64_t{7919003} % kLargestFixed);
        coefficients.values.push_back(k % 2 ? -value : value);
      }
      const std::vector<float> base = Normal(matrix.elements(), 8);
      std::vector<float> want = base;
      ASSERT_TRUE(AddRankOneReplay(kRoot, 21, coefficients, matrix, want).ok());
      ExpectSame(Replayed(coefficients, matrix, 21, base), want,
                 std::to_string(matrix.rows) + " x " + std::to_string(matrix.columns) + ", " +
                     std::to_string(count));
    }
  }
}

}  // namespace
}  // namespace rivulet
