// Ids and texts of the reference implementation (huggingface/tokenizers 0.23.3), as stored in
// golden/tokenizers.json: awkward strings and pairs for every tokenizer file.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "common/io/file.h"
#include "peft/tokenizer/json_members.h"
#include "peft/tokenizer/tokenizer.h"
#include "tests/unit/golden_folder.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

const Json& Golden() {
  static const Json golden = Json::parse(*ReadFile(GoldenFolder() / "tokenizers.json", 256 << 20));
  return golden;
}

// "data:x" is a file of the shared data folder, "x" one of the golden folder; "a+b" are two files.
fs::path PathOf(const std::string& name) {
  if (name.starts_with("data:")) return SharedFolder() / "data" / "tokenizers" / name.substr(5);
  return GoldenFolder() / name;
}

// Of "a+b" the first stands for both.
fs::path FirstOf(const std::string& name) { return PathOf(name.substr(0, name.find('+'))); }

// A folder with the legacy files under the names that loading expects.
fs::path LegacyFolder(const std::string& name) {
  std::string flat = name;
  for (char& c : flat) c = c == '/' || c == ':' ? '_' : c;
  const fs::path folder = ScratchRoot::Path() / ("golden_" + flat);
  fs::create_directories(folder);
  const size_t plus = name.find('+');
  const fs::path vocab = FirstOf(name);
  const auto options = fs::copy_options::overwrite_existing;
  fs::copy_file(vocab, folder / (plus == std::string::npos ? "vocab.txt" : "vocab.json"), options);
  if (plus != std::string::npos) {
    fs::copy_file(vocab.parent_path() / name.substr(plus + 1), folder / "merges.txt", options);
  } else {
    std::ofstream(folder / "tokenizer_config.json") << R"({"do_lower_case": false})";
  }
  return folder;
}

absl::StatusOr<Tokenizer> LoadNamed(const std::string& name) {
  const bool legacy = name.ends_with(".txt");
  return Tokenizer::Load(legacy ? LegacyFolder(name) : PathOf(name));
}

class GoldenTokenizer : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    RV_SKIP_WITHOUT(FirstOf(GetParam()));
    static std::map<std::string, Tokenizer> loaded;  // reading one costs more than its strings
    auto at = loaded.find(GetParam());
    if (at == loaded.end()) {
      auto read = LoadNamed(GetParam());
      ASSERT_TRUE(read.ok()) << read.status();
      at = loaded.emplace(GetParam(), *std::move(read)).first;
    }
    tokenizer_ = &at->second;
  }
  const Json& Entry() const { return Golden()["tokenizers"][GetParam()]; }
  const Tokenizer* tokenizer_ = nullptr;
};

TEST_P(GoldenTokenizer, EncodesEveryStringAsTheReferenceDoes) {
  const Json& strings = Golden()["strings"];
  for (size_t row = 0; row < strings.size(); ++row) {
    const auto text = strings[row].get<std::string>();
    const Json& want = Entry()["encodings"][row];
    SCOPED_TRACE("string " + std::to_string(row) + ": " + text.substr(0, 80));
    const auto full = tokenizer_->Encode(text);
    ASSERT_TRUE(full.ok()) << full.status();
    EXPECT_EQ(full->ids, want["ids"].get<std::vector<int32_t>>());
    const auto plain = tokenizer_->Encode(text, /*add_special=*/false);
    ASSERT_TRUE(plain.ok()) << plain.status();
    EXPECT_EQ(plain->ids, want["plain"].get<std::vector<int32_t>>());
  }
}

TEST_P(GoldenTokenizer, DecodesEveryStringAsTheReferenceDoes) {
  for (size_t row = 0; row < Entry()["encodings"].size(); ++row) {
    const Json& want = Entry()["encodings"][row];
    SCOPED_TRACE("string " + std::to_string(row));
    const auto kept = tokenizer_->Decode(want["plain"].get<std::vector<int32_t>>(), false);
    EXPECT_EQ(*kept, want["decoded"].get<std::string>());
    const auto skipped = tokenizer_->Decode(want["ids"].get<std::vector<int32_t>>(), true);
    EXPECT_EQ(*skipped, want["decoded_skip"].get<std::string>());
  }
}

TEST_P(GoldenTokenizer, StreamingGivesTheSameTextAsDecodingAtOnce) {
  for (const Json& want : Entry()["encodings"]) {
    StreamDecoder stream(*tokenizer_, /*skip_special=*/false);
    std::string text;
    for (int32_t id : want["plain"].get<std::vector<int32_t>>()) text += *stream.Push(id);
    text += *stream.Finish();
    EXPECT_EQ(text, want["decoded"].get<std::string>());
  }
}

TEST_P(GoldenTokenizer, JoinsPairsAsTheReferenceDoes) {
  for (size_t row = 0; row < Golden()["pairs"].size(); ++row) {
    const Json& pair = Golden()["pairs"][row];
    const Json& want = Entry()["pairs"][row];
    const auto got = tokenizer_->EncodePair(pair[0].get<std::string>(), pair[1].get<std::string>());
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(got->ids, want["ids"].get<std::vector<int32_t>>());
    EXPECT_EQ(got->type_ids, want["type_ids"].get<std::vector<int32_t>>());
    EXPECT_EQ(got->special_mask, want["special"].get<std::vector<uint8_t>>());
  }
}

std::string NameOf(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) c = isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(
    All, GoldenTokenizer,
    testing::Values("data:bert-cased/vocab.txt", "data:clip/tokenizer.json",
                    "data:gpt2/vocab.json+merges.txt", "data:phi-3-mini/tokenizer.json",
                    "data:roberta-base/tokenizer.json", "data:torchtune/tokenizer.json",
                    "data:torchtune/tiny_bpe_tokenizer.json",
                    "data:torchtune/tiny_bpe_vocab.json+tiny_bpe_merges.txt",
                    "data:torchtune/tokenizer_gemma_cropped.json", "stories260K/tokenizer.json",
                    "tokenizers/bytelevel_llama3/tokenizer.json",
                    "tokenizers/sentencepiece_bpe/tokenizer.json",
                    "tokenizers/unigram/tokenizer.json", "tokenizers/wordpiece/tokenizer.json"),
    NameOf);

TEST(GoldenRefusals, WhatTheReferenceRefusesIsRefused) {
  RV_SKIP_WITHOUT(SharedFolder() / "data" / "tokenizers");
  for (const auto& [name, reason] : Golden()["refused"].items()) {
    const auto loaded = LoadNamed(name);
    EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument)
        << name << ", which the reference refuses with " << reason << ": " << loaded.status();
  }
}

TEST(GoldenRefusals, PrecompiledIsRefusedByName) {
  const fs::path file = PathOf("data:t5-small/tokenizer.json");
  RV_SKIP_WITHOUT(file);
  const auto loaded = Tokenizer::Load(file);
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(
      loaded.status().message().find("normalizer 'Precompiled' is not supported, want one of"),
      absl::string_view::npos)
      << loaded.status();
}

}  // namespace
}  // namespace rivulet
