#include "common/formats/model_files.h"

#include <gtest/gtest.h>

#include "common/formats/safetensors_writer.h"
#include "tests/unit/common/formats/golden.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

ParameterSet OneTensor(const std::string& name) {
  return ParameterSet(Manifest{{name, DType::kF32, {1}}});
}

void WriteShards(const std::filesystem::path& dir, const ShardIndex& index) {
  ASSERT_TRUE(WriteSafetensors(dir / "s1.safetensors", OneTensor("a")).ok());
  ASSERT_TRUE(WriteSafetensors(dir / "s2.safetensors", OneTensor("b")).ok());
  ASSERT_TRUE(
      WriteFileAtomically(dir / "model.safetensors.index.json", ShardIndexText(index, 8, 2)).ok());
}

TEST(ModelFiles, ShardsReadAsTheUnshardedModel) {
  const auto golden = GoldenFolder() / "models";
  RV_SKIP_WITHOUT(golden / "llama_sharded" / "model-00001-of-00003.safetensors");
  const auto sharded = ModelFiles::Open(golden / "llama_sharded");
  const auto whole = ModelFiles::Open(golden / "llama");
  ASSERT_TRUE(sharded.ok() && whole.ok()) << sharded.status() << whole.status();
  EXPECT_EQ(sharded->names().size(), 3u);
  EXPECT_EQ(sharded->tensors().size(), whole->tensors().size());
  for (const TensorView* tensor : whole->tensors()) {
    const TensorView* twin = sharded->Find(tensor->spec.name);
    ASSERT_NE(twin, nullptr) << tensor->spec.name;
    EXPECT_EQ(twin->spec, tensor->spec);
    EXPECT_TRUE(std::equal(twin->bytes.begin(), twin->bytes.end(), tensor->bytes.begin()));
  }
}

TEST(ModelFiles, TheIndexIsRewrittenWithoutADifference) {
  const auto path = GoldenFolder() / "models" / "llama_sharded" / "model.safetensors.index.json";
  const std::string text = *ReadFile(path, 1 << 20);
  EXPECT_EQ(ShardIndexText(*ParseShardIndex(text), 321280, 80320), text);
}

TEST(ModelFiles, IndexAndShardsMustAgreeBothWays) {
  const auto dir = ScratchFolder();
  WriteShards(dir, {{{"a", "s1.safetensors"}, {"b", "s2.safetensors"}}});
  EXPECT_TRUE(ModelFiles::Open(dir).ok());
  WriteShards(dir, {{{"a", "s1.safetensors"}, {"c", "s2.safetensors"}}});
  std::string message(ModelFiles::Open(dir).status().message());
  EXPECT_NE(message.find("s2.safetensors: tensor 'b' is not in the index"), message.npos);
  WriteShards(dir, {{{"a", "s1.safetensors"}, {"b", "s2.safetensors"}, {"c", "s2.safetensors"}}});
  message = std::string(ModelFiles::Open(dir).status().message());
  EXPECT_NE(message.find("s2.safetensors: tensor 'c' of the index is missing"), message.npos);
}

TEST(ModelFiles, AShardNeverNamesAFileOutsideItsFolder) {
  for (const char* name : {"../x.safetensors", "/etc/passwd", "a/b", "..", "", "a b", "x\\u0000"}) {
    EXPECT_FALSE(ParseShardIndex(R"({"weight_map":{"a":")" + std::string(name) + "\"}}").ok())
        << name;
  }
  EXPECT_FALSE(ParseShardIndex(R"({"weight_map":{"a":7}})").ok());
  EXPECT_FALSE(ParseShardIndex(R"({"weight_map":{}})").ok());
  EXPECT_FALSE(ParseShardIndex("[]").ok());
}

TEST(ModelFiles, APickleIsNamedWithTheWayOut) {
  const auto dir = ScratchFolder();
  EXPECT_EQ(ModelFiles::Open(dir).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileAtomically(dir / "pytorch_model.bin", "x").ok());
  const std::string message(ModelFiles::Open(dir).status().message());
  EXPECT_NE(message.find("got pytorch_model.bin"), message.npos);
  EXPECT_NE(message.find("save_pretrained"), message.npos);
}

}  // namespace
}  // namespace rivulet
