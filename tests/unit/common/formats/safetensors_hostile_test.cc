#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "common/formats/safetensors.h"
#include "tests/unit/common/formats/golden.h"

// Verdicts of the reference (safetensors 0.8.0) on 125 files; ours are the same, kind and text,
// except where a stricter rule of ours speaks. Those files are listed here by name.

namespace rivulet {
namespace {

using nlohmann::json;

// Refused by us in both profiles although the reference accepts them, or for an earlier reason.
const std::set<std::string> kStricterAlways = {
    "depth_100_extra",         // unknown field
    "depth_bomb_extra",        // the same, seen before the depth is
    "duplicate_metadata_key",  // a key twice
    "duplicate_name_first_covers",
    "duplicate_name_last_covers",
    "duplicate_name_same_offsets",
    "name_escaped_equals_other",  // a key twice, one of them escaped
    "extra_field",
    "leading_space_with_tensor",
    "leading_white_space",
    "metadata_null",
    "name_empty",
    "name_escaped_nul",
    "name_long_600",
    "rank_64",
    "tensor_as_array",
    "zero_size_overflow_behind",  // dimension above 2^31
};
// Refused from peers, accepted as the operator's own.
const std::set<std::string> kStricterForUploads = {
    "name_escaped_pair", "name_non_ascii",      "name_slash",
    "padding_newline",   "padding_white_space", "two_zero_size_same_offset",
    "zero_size",         "zero_size_between",
};

SafetensorsError KindOf(const std::string& text) {
  const std::pair<const char*, SafetensorsError> kKinds[] = {
      {"header too small", SafetensorsError::kHeaderTooSmall},
      {"header too large", SafetensorsError::kHeaderTooLarge},
      {"invalid header length", SafetensorsError::kInvalidHeaderLength},
      {"invalid UTF-8 in header: ", SafetensorsError::kInvalidHeader},
      {"invalid JSON in header: ", SafetensorsError::kInvalidHeaderDeserialization},
      {"invalid offset for tensor `", SafetensorsError::kInvalidOffset},
      {"overflow computing buffer size", SafetensorsError::kValidationOverflow},
      {"The slice is slicing for subbytes", SafetensorsError::kMisalignedSlice},
      {"invalid shape, data type", SafetensorsError::kTensorInvalidInfo},
      {"incomplete metadata", SafetensorsError::kMetadataIncompleteBuffer},
  };
  for (const auto& [prefix, kind] : kKinds) {
    if (text.starts_with(prefix)) return kind;
  }
  ADD_FAILURE() << "no kind for " << text;
  return {};
}

std::string HexOfBytes(std::span<const std::byte> bytes) {
  return HexOf({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

void ExpectContent(const SafetensorsView& view, const json& want, const std::string& name) {
  EXPECT_EQ(view.tensors().size(), want["names"].size()) << name;
  for (const std::string tensor : want["names"]) {
    const TensorView* found = view.Find(tensor);
    ASSERT_NE(found, nullptr) << name << " " << tensor;
    EXPECT_EQ(json(found->spec.shape), want["shapes"][tensor]) << name;
    EXPECT_EQ(std::string(NameOf(found->spec.dtype)), want["dtypes"][tensor].get<std::string>())
        << name;
    EXPECT_EQ(HexOfBytes(found->bytes), want["data_hex"][tensor].get<std::string>()) << name;
  }
  const json metadata = want["metadata"].is_null() ? json::object() : want["metadata"];
  EXPECT_EQ(json(view.metadata()), metadata) << name;
}

void ExpectRefusal(const absl::Status& status, const std::string& text, const std::string& name) {
  ASSERT_EQ(SafetensorsErrorOf(status), KindOf(text)) << name << ": " << status;
  // Behind "in header: " stands the parser's own wording, which is not ours.
  const std::string ours(status.message());
  if (text.find(" in header: ") != text.npos)
    EXPECT_EQ(ours.substr(0, ours.find(':')), text.substr(0, text.find(':'))) << name;
  else
    EXPECT_EQ(ours, text) << name;
}

class HostileFiles : public testing::TestWithParam<SafetensorsProfile> {
 protected:
  bool IsException(const std::string& name) const {
    return kStricterAlways.contains(name) ||
           (GetParam() == SafetensorsProfile::kUpload && kStricterForUploads.contains(name));
  }
};

TEST_P(HostileFiles, VerdictsAreThoseOfTheReferenceExceptTheStricterOnesListed) {
  const auto folder = GoldenInTree() / "safetensors_hostile";
  const json verdicts = json::parse(*ReadFile(folder / "verdicts.json", 1 << 20));
  ASSERT_EQ(verdicts.size(), 125u);
  for (const auto& [name, want] : verdicts.items()) {
    const std::string bytes = *ReadFile(folder / (name + ".safetensors"), 1 << 20);
    const auto view = SafetensorsView::Parse(bytes, GetParam());
    if (IsException(name)) {
      EXPECT_EQ(SafetensorsErrorOf(view.status()), SafetensorsError::kStricterRule) << name;
    } else if (want["verdict"] == "accept") {
      ASSERT_TRUE(view.ok()) << name << ": " << view.status();
      ExpectContent(*view, want, name);
    } else {
      ExpectRefusal(view.status(), want["message"], name);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(BothProfiles, HostileFiles,
                         testing::Values(SafetensorsProfile::kBaseModel,
                                         SafetensorsProfile::kUpload),
                         [](const auto& param) {
                           return param.param == SafetensorsProfile::kUpload ? "Upload"
                                                                             : "BaseModel";
                         });

// Every truncation of a good file is refused, whatever the byte.
TEST(HostileSafetensors, NoTruncationIsAccepted) {
  const std::string bytes =
      *ReadFile(GoldenInTree() / "safetensors_written" / "adapter.safetensors", 1 << 20);
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(SafetensorsView::Parse(bytes.substr(0, size), SafetensorsProfile::kUpload).ok());
}

TEST(HostileSafetensors, AHeaderAboveOurLimitIsRefusedBeforeItIsParsed) {
  const uint64_t length = (1 << 20) + 8;
  std::string bytes(8 + length, ' ');
  for (int byte = 0; byte < 8; ++byte) bytes[byte] = static_cast<char>(length >> (8 * byte));
  bytes[8] = '{';
  bytes[9] = '}';
  EXPECT_EQ(SafetensorsErrorOf(SafetensorsView::Parse(bytes, SafetensorsProfile::kUpload).status()),
            SafetensorsError::kStricterRule);
  EXPECT_TRUE(SafetensorsView::Parse(bytes, SafetensorsProfile::kBaseModel).ok());
}

TEST(HostileSafetensors, MoreThanTenThousandTensorsAreRefused) {
  std::string header = "{";
  for (int row = 0; row <= 10'000; ++row)
    header += (row ? ",\"t" : "\"t") + std::to_string(row) +
              "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[" + std::to_string(row) + "," +
              std::to_string(row + 1) + "]}";
  header += "}";
  std::string bytes;
  for (int byte = 0; byte < 8; ++byte) bytes += static_cast<char>(header.size() >> (8 * byte));
  bytes += header + std::string(10'001, 'x');
  EXPECT_EQ(SafetensorsView::Parse(bytes, SafetensorsProfile::kUpload).status().message(),
            "tensors: got more than 10000");
  EXPECT_TRUE(SafetensorsView::Parse(bytes, SafetensorsProfile::kBaseModel).ok());
}

}  // namespace
}  // namespace rivulet
