#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"
#include "peft/tokenizer/encoding.h"

namespace rivulet {

// Ids of the tokens that tokenizer_config.json names; absent when it names none or the vocabulary
// lacks it.
struct SpecialIds {
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::optional<int32_t> pad;
  std::optional<int32_t> unk;
  std::optional<int32_t> cls;
  std::optional<int32_t> sep;
  std::optional<int32_t> mask;
};

// A Hugging Face `tokenizer.json`: text to ids and back, with exactly the reference's ids.
//
// Models: BPE (byte-level or with byte fall-back), WordPiece, WordLevel, Unigram. What a file needs
// beyond the parts listed in normalizer.cc, pre_tokenizer.cc, post_processor.cc and decoder.cc is
// refused by name when it is loaded. `truncation` and `padding` of the file are ignored: cutting to
// length is the caller's, as in transformers.
//
// Immutable, cheap to copy (shared), thread safe.
// Reference: huggingface/tokenizers 0.23.3.
class Tokenizer {
 public:
  static constexpr uint64_t kMaxFileBytes = 64 << 20;
  static constexpr size_t kMaxTextBytes = 64 << 20;  // of one call of Encode

  // `path`: a tokenizer.json, or a model folder with one. A folder without it may have
  // vocab.json + merges.txt (GPT-2's byte-level BPE) or vocab.txt (BERT's WordPiece) instead;
  // tokenizer_config.json beside them is read when present: the special tokens' names, and which of
  // them go around a text (WithStatedEnds in post_processor.h).
  // Errors: NotFound; OutOfRange above kMaxFileBytes; InvalidArgument naming file and field;
  // Unimplemented naming a part that is not supported and those that are.
  static absl::StatusOr<Tokenizer> Load(const std::filesystem::path& path);
  // The same from the files' contents; `config` may be empty.
  static absl::StatusOr<Tokenizer> Parse(std::string_view tokenizer_json,
                                         std::string_view config = "");

  // Errors: InvalidArgument for text that is not UTF-8 (naming the byte) or longer than
  // kMaxTextBytes; FailedPrecondition when an unknown token is needed and missing;
  // ResourceExhausted when one of the file's patterns passes its match limits.
  absl::StatusOr<Encoding> Encode(std::string_view text, bool add_special = true) const;
  absl::StatusOr<Encoding> EncodePair(std::string_view first, std::string_view second,
                                      bool add_special = true) const;

  // Ids that are in no vocabulary are left out. Bytes that form no UTF-8 become U+FFFD.
  // Errors: ResourceExhausted as above.
  absl::StatusOr<std::string> Decode(std::span<const int32_t> ids, bool skip_special = true) const;

  // Pieces of the model and added tokens. Ids may have gaps: an embedding needs id_limit() rows.
  size_t vocab_size() const;
  int32_t id_limit() const;  // largest id + 1
  // Errors: InvalidArgument when an embedding of `rows` rows lacks some ids, naming both.
  absl::Status FitsEmbedding(int64_t rows) const;
  std::optional<int32_t> IdOf(std::string_view token) const;
  const SpecialIds& special_ids() const;

 private:
  struct Pipeline;
  explicit Tokenizer(std::shared_ptr<const Pipeline> pipeline) : pipeline_(std::move(pipeline)) {}
  std::shared_ptr<const Pipeline> pipeline_;
};

// Decodes a growing sequence token by token, as generation needs: text is handed out as soon as it
// can no longer change, so a character spread over several tokens comes out whole. What it handed
// out in all equals Decode of all ids. Not thread safe; each sequence has its own.
class StreamDecoder {
 public:
  explicit StreamDecoder(Tokenizer tokenizer, bool skip_special = true)
      : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}

  // The text that became certain with `id`; often empty.
  absl::StatusOr<std::string> Push(int32_t id);
  // What is left at the end, U+FFFD for an unfinished character.
  absl::StatusOr<std::string> Finish();

 private:
  absl::StatusOr<std::string> Emit(bool last);

  Tokenizer tokenizer_;
  bool skip_special_;
  std::vector<int32_t>
      ids_;             // a window: the tokens already printed that give context, then new ones
  size_t printed_ = 0;  // of them
};

}  // namespace rivulet
