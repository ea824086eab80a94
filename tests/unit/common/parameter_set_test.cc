#include "common/tensor/parameter_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace rivulet {
namespace {

Manifest TwoTensors() { return {{"a", DType::kF32, {2, 3}}, {"b", DType::kI64, {}}}; }

TEST(ParameterSet, StartsAtZeroWithTheShapesAsked) {
  ParameterSet set(TwoTensors());
  EXPECT_EQ(set.floats(0).size(), 6u);
  EXPECT_EQ(set.bytes(1).size(), 8u);
  for (float value : set.floats(0)) EXPECT_EQ(value, 0.0f);
  EXPECT_EQ(set.IndexOf("b"), 1);
  EXPECT_EQ(set.IndexOf("c"), -1);
}

// Worked with Python's hashlib over the documented layout.
TEST(ParameterSet, HashFollowsTheDocumentedLayout) {
  ParameterSet set(Manifest{{"a", DType::kF32, {2}}});
  set.floats(0)[0] = 1.0f;
  set.floats(0)[1] = -2.0f;
  const std::string layout(
      "\x01\0\0\0"
      "a"
      "\x11"
      "\x01"
      "\x02\0\0\0\0\0\0\0"
      "\0\0\x80\x3f\0\0\0\xc0",
      23);
  EXPECT_EQ(set.HashHex(), Sha256Hex(layout));
}

TEST(ParameterSet, HashSeesNameShapeDTypeAndValues) {
  const std::string base = ParameterSet(Manifest{{"a", DType::kF32, {2, 3}}}).HashHex();
  EXPECT_NE(base, ParameterSet(Manifest{{"b", DType::kF32, {2, 3}}}).HashHex());
  EXPECT_NE(base, ParameterSet(Manifest{{"a", DType::kF32, {3, 2}}}).HashHex());
  EXPECT_NE(base, ParameterSet(Manifest{{"a", DType::kI32, {2, 3}}}).HashHex());
  ParameterSet other(Manifest{{"a", DType::kF32, {2, 3}}});
  other.floats(0)[5] = 1e-30f;
  EXPECT_NE(base, other.HashHex());
}

TEST(Manifest, DifferenceNamesTheTensorSeenAndWanted) {
  Manifest got = TwoTensors();
  got[0].shape = {3, 2};
  EXPECT_EQ(SameManifest(got, TwoTensors()).message(),
            "tensor 0: got a F32 [3,2], want a F32 [2,3]");
  got = TwoTensors();
  got.pop_back();
  EXPECT_EQ(SameManifest(got, TwoTensors()).message(),
            "tensors: got 1, want 2; first missing: b I64 []");
}

TEST(CheckFinite, NamesTheFirstBadElement) {
  ParameterSet set(TwoTensors());
  EXPECT_TRUE(CheckFinite(set).ok());
  set.floats(0)[4] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(CheckFinite(set).message(), "a[4]: got nan, want a finite number");
}

// Two sizes: one from the heap, one of pages of its own; made again where another one was.
TEST(ParameterSet, StartsAsZerosWhateverWasThereBefore) {
  for (const int64_t elements : {int64_t{1000}, int64_t{3} << 20}) {
    for (int time = 0; time < 3; ++time) {
      ParameterSet set({{"a", DType::kF32, {elements}}});
      const std::span<float> values = set.floats(0);
      EXPECT_EQ(std::count(values.begin(), values.end(), 0.0f), elements);
      std::fill(values.begin(), values.end(), 1.0f);
      const ParameterSet copy = set;
      EXPECT_EQ(std::count(copy.floats(0).begin(), copy.floats(0).end(), 1.0f), elements);
    }
  }
}

}  // namespace
}  // namespace rivulet
