#include "common/formats/safetensors.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "common/formats/safetensors_writer.h"
#include "tests/unit/common/formats/golden.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

const std::string kSixFloats("\0\0\0\0\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\0\0\x80\x40\0\0\xa0\x40",
                             24);

// Vectors of docs/formats/safetensors.md, confirmed with the reference's writer.
TEST(SafetensorsWriter, GivesTheReferenceBytesForNoTensor) {
  EXPECT_EQ(*SafetensorsBytes({}, {}), std::string("\x08\0\0\0\0\0\0\0{}      ", 16));
  EXPECT_EQ(Sha256Hex(*SafetensorsBytes({}, {{"framework", "pt"}})),
            "721db72c8cd303cb3f5fc907b02ffec30ec4adf0b29d13117cb85cb1f74568a0");
}

TEST(SafetensorsWriter, GivesTheReferenceBytesForOneTensor) {
  EXPECT_EQ(
      Sha256Hex(*SafetensorsBytes({{{"attn.0", DType::kF32, {1, 2, 3}}, Bytes(kSixFloats)}}, {})),
      "2a86d7550f9791d6a7447c66874e5c86d824e292e17226b389a53341d4987f0d");
  EXPECT_EQ(
      Sha256Hex(*SafetensorsBytes({{{"attn0", DType::kF32, {1, 1, 2, 3}}, Bytes(kSixFloats)}}, {})),
      "6a4fa8e1b5ca729d7d6151d6ae63f41aa35ad4fbceb03d19f9a6b6a333aa3776");
  const std::string four =
      *SafetensorsBytes({{{"attn.0", DType::kF4, {1, 2}}, Bytes(std::string_view("\0", 1))}}, {});
  EXPECT_EQ(four.size(), 73u);
  EXPECT_EQ(four.substr(8),
            "{\"attn.0\":{\"dtype\":\"F4\",\"shape\":[1,2],\"data_offsets\":[0,1]}}"
            "    " +
                std::string(1, '\0'));
}

TEST(SafetensorsWriter, OrdersByDTypeThenNameAsTheReferenceDoes) {
  const std::string one("\0\0\x80\x3f", 4), two("\0\0\0\x40", 4), seven("\7\0\0\0\0\0\0\0", 8);
  const std::string bytes =
      *SafetensorsBytes({{{"a", DType::kF16, {1}}, Bytes(std::string_view("\0\x3c", 2))},
                         {{"b", DType::kF32, {1}}, Bytes(one)},
                         {{"c", DType::kI64, {1}}, Bytes(seven)},
                         {{"B", DType::kF32, {1}}, Bytes(two)},
                         {{"d", DType::kBF16, {1}}, Bytes("\x80\x3f")},
                         {{"e", DType::kU8, {3}}, Bytes("\1\2\3")}});
  EXPECT_EQ(bytes.size(), 391u);
  EXPECT_EQ(Sha256Hex(bytes), "6880206aaf31d75d8c295e325bc698ada5157e6330757cfcbf6e0be9e29c5deb");
}

TEST(SafetensorsWriter, GivesTheReferenceBytesForAnAdapter) {
  const std::string prefix = "base_model.model.model.layers.0.self_attn.q_proj.lora_";
  ParameterSet set(
      {{prefix + "A.weight", DType::kF32, {1, 2}}, {prefix + "B.weight", DType::kF32, {2, 1}}});
  set.floats(0)[0] = 1;
  set.floats(0)[1] = 2;
  set.floats(1)[0] = 3;
  set.floats(1)[1] = 4;
  EXPECT_EQ(Sha256Hex(SafetensorsBytes(set)),
            "1a5fa501231a3639cdf23b940ba4820071823484a1ea45fb3c0e5273bebf924d");
  const auto path = ScratchFolder() / "adapter.safetensors";
  ASSERT_TRUE(WriteSafetensors(path, set).ok());
  EXPECT_EQ(*ReadFile(path, 1 << 20), SafetensorsBytes(set));
  EXPECT_EQ(ReadParameterSetFile(path)->HashHex(), set.HashHex());
}

// Files of the reference's writer: reading and writing them again changes no byte.
TEST(SafetensorsWriter, RewritesEveryFileOfTheReferenceWithoutADifference) {
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(GoldenInTree() / "safetensors_written")) {
    if (entry.path().extension() != ".safetensors") continue;
    const std::string bytes = *ReadFile(entry.path(), 1 << 20);
    if (entry.path().stem() == "names_escaped") continue;  // the next test
    const auto view = SafetensorsView::Parse(bytes, SafetensorsProfile::kBaseModel);
    ASSERT_TRUE(view.ok()) << entry.path() << view.status();
    EXPECT_EQ(*SafetensorsBytes(view->tensors(), view->metadata()), bytes) << entry.path();
    ++files;
  }
  EXPECT_EQ(files, 9);
}

// Its names hold control characters: we write them as the reference does, and refuse to read them.
TEST(SafetensorsWriter, EscapesNamesAsTheReferenceDoes) {
  const std::string bytes =
      *ReadFile(GoldenInTree() / "safetensors_written" / "names_escaped.safetensors", 1 << 20);
  EXPECT_EQ(
      SafetensorsErrorOf(SafetensorsView::Parse(bytes, SafetensorsProfile::kBaseModel).status()),
      SafetensorsError::kStricterRule);
  const size_t length = static_cast<uint8_t>(bytes[0]) + 256 * static_cast<uint8_t>(bytes[1]);
  const auto header = nlohmann::json::parse(bytes.substr(8, length));
  std::vector<TensorView> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    tensors.push_back({{name, *DTypeOf(entry["dtype"].get<std::string>()), entry["shape"]},
                       Bytes(bytes).subspan(8 + length + begin, end - begin)});
  }
  EXPECT_GE(tensors.size(), 3u);
  const bool metadata = header.contains("__metadata__");
  EXPECT_EQ(*SafetensorsBytes(tensors, metadata ? PtFormat() : SafetensorsMetadata()), bytes);
}

TEST(SafetensorsWriter, RefusesWhatNoReaderCouldRead) {
  const auto message = [](const std::vector<TensorView>& tensors) {
    return std::string(SafetensorsBytes(tensors).status().message());
  };
  EXPECT_EQ(message({{{"a", DType::kU8, {1}}, Bytes("x")}, {{"a", DType::kI8, {1}}, Bytes("y")}}),
            "tensor 'a': got it twice, want it once");
  EXPECT_EQ(message({{{"a", DType::kF32, {2}}, Bytes("x")}}), "a F32 [2]: got 1 bytes, want 8");
  EXPECT_EQ(message({{{"a", DType::kF4, {3}}, Bytes("x")}}),
            "tensor 'a': does not end at a byte boundary");
  EXPECT_EQ(message({{{"__metadata__", DType::kU8, {1}}, Bytes("x")}}),
            "tensor '__metadata__': this name belongs to the format");
  EXPECT_FALSE(SafetensorsBytes({{{"\xff", DType::kU8, {1}}, Bytes("x")}}).ok());
}

TEST(SafetensorsWriter, AFileThatIsNotWholeIsNotThere) {
  const auto path = ScratchFolder() / "model.safetensors";
  auto writer = SafetensorsWriter::Create(path, {{"a", DType::kU8, {1}}, {"b", DType::kF32, {1}}});
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ(writer->order()[0].name, "b");
  EXPECT_FALSE(writer->Append(Bytes("x")).ok());
  ASSERT_TRUE(writer->Append(Bytes("1234")).ok());
  EXPECT_EQ(writer->Commit().message(), "tensors: got 1, want 2; next is a U8 [1]");
  ASSERT_TRUE(writer->Append(Bytes("x")).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_TRUE(writer->Commit().ok());
  EXPECT_EQ(SafetensorsFile::Open(path)->view().Find("a")->bytes.size(), 1u);
}

TEST(ReadParameterSet, SortsByNameAndHoldsTheManifestAgainstTheFile) {
  const std::string bytes = *SafetensorsBytes(
      {{{"b", DType::kF32, {1}}, Bytes("1234")}, {{"a", DType::kU8, {2}}, Bytes("xy")}});
  const Manifest want = {{"a", DType::kU8, {2}}, {"b", DType::kF32, {1}}};
  const auto set = ReadParameterSet(bytes, &want);
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->manifest(), want);
  EXPECT_EQ(static_cast<char>(set->bytes(0)[1]), 'y');
  const Manifest other = {{"a", DType::kU8, {3}}, {"b", DType::kF32, {1}}};
  EXPECT_EQ(ReadParameterSet(bytes, &other).status().message(),
            "tensor 0: got a U8 [2], want a U8 [3]");
}

TEST(SafetensorsFile, APickleIsNamedAndRefused) {
  const auto path = ScratchFolder() / "model.safetensors";
  ASSERT_TRUE(WriteFileAtomically(path, "PK\x03\x04 archive").ok());
  const std::string message(SafetensorsFile::Open(path).status().message());
  EXPECT_NE(message.find("got a pickle or archive"), message.npos) << message;
}

TEST(SafetensorsFile, AFileCutShortTellsTheSizesSeenAndWanted) {
  const auto path = ScratchFolder() / "model.safetensors";
  const std::string whole = *SafetensorsBytes({{{"a", DType::kU8, {4}}, Bytes("abcd")}});
  const auto message = [&](size_t size) {
    EXPECT_TRUE(WriteFileAtomically(path, whole.substr(0, size)).ok());
    const absl::Status status = SafetensorsFile::Open(path).status();
    EXPECT_EQ(ReadParameterSetFile(path).status(), status);
    return std::string(status.message()).substr(path.string().size());
  };
  const std::string full = std::to_string(whole.size());
  EXPECT_EQ(message(3), ": header too small: got 3 bytes, want 8");
  EXPECT_EQ(message(20),
            ": invalid header length: got 20 bytes, want " + std::to_string(whole.size() - 4));
  EXPECT_EQ(message(whole.size() - 1), ": incomplete metadata, file not fully covered: got " +
                                           std::to_string(whole.size() - 1) + " bytes, want " +
                                           full);
}

// A length of 0x0280 reads 80 02, as a pickle does.
TEST(SafetensorsFile, AHeaderOf640BytesIsNoPickle) {
  std::vector<TensorView> tensors;
  for (int row = 0; row < 10; ++row)
    tensors.push_back({{std::string(row == 0 ? 24 : 8, 'a' + row), DType::kU8, {1}}, Bytes("x")});
  const auto path = ScratchFolder() / "model.safetensors";
  ASSERT_TRUE(WriteSafetensors(path, tensors).ok());
  ASSERT_EQ(ReadFile(path, 1 << 20)->substr(0, 2), "\x80\x02");
  EXPECT_TRUE(SafetensorsFile::Open(path).ok());
}

// Random tensors of every dtype and rank, 10,000 files, fixed seed: what was written is read back,
// and written again gives the same bytes.
TEST(SafetensorsProperty, RandomContentSurvivesTheRoundTrip) {
  std::mt19937 random(1);
  const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  for (int round = 0; round < 10'000; ++round) {
    std::vector<std::string> storage;
    std::vector<TensorView> tensors;
    for (uint32_t row = 0, count = below(6); row < count; ++row) {
      TensorSpec spec{"t" + std::to_string(row) + std::string(below(20), 'x'),
                      static_cast<DType>(below(22)),
                      {}};
      for (uint32_t rank = below(4); rank > 0; --rank) spec.shape.push_back(below(5));
      if (BitsOf(spec.dtype) < 8) spec.shape = {4};
      std::string data(spec.size_bytes(), '\0');
      for (char& byte : data) byte = static_cast<char>(random());
      storage.push_back(std::move(data));
      tensors.push_back({std::move(spec), {}});
    }
    for (size_t row = 0; row < tensors.size(); ++row) tensors[row].bytes = Bytes(storage[row]);
    const std::string bytes = *SafetensorsBytes(tensors);
    const auto view = SafetensorsView::Parse(bytes, SafetensorsProfile::kBaseModel);
    ASSERT_TRUE(view.ok()) << view.status();
    for (size_t row = 0; row < tensors.size(); ++row) {
      const TensorView* found = view->Find(tensors[row].spec.name);
      ASSERT_TRUE(found != nullptr && found->spec == tensors[row].spec);
      ASSERT_TRUE(std::equal(found->bytes.begin(), found->bytes.end(), tensors[row].bytes.begin(),
                             tensors[row].bytes.end()));
    }
    ASSERT_EQ(*SafetensorsBytes(view->tensors()), bytes);
  }
}

}  // namespace
}  // namespace rivulet
