#include "peft/tokenizer/tokenizer.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

namespace {

constexpr std::string_view kTokenizer =
    R"({"version":"1.0","pre_tokenizer":{"type":"WhitespaceSplit"},
        "model":{"type":"WordLevel","unk_token":"a","vocab":{"<s>":0,"</s>":1,"a":2}}})";

}  // namespace

// A tokenizer_config.json of any content is refused or names tokens of the vocabulary, and what it
// puts around a text leaves the text whole.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tokenizer = Tokenizer::Parse(kTokenizer, {reinterpret_cast<const char*>(data), size});
  if (!tokenizer.ok()) return 0;
  const SpecialIds& special = tokenizer->special_ids();
  for (const auto& id : {special.bos, special.eos, special.pad, special.unk, special.cls,
                         special.sep, special.mask}) {
    Require(!id.has_value() || (*id >= 0 && *id < tokenizer->id_limit()));
  }
  const auto encoding = tokenizer->Encode("a a");
  Require(encoding.ok() && encoding->ids.size() == encoding->special_mask.size());
  Require(std::count(encoding->special_mask.begin(), encoding->special_mask.end(), 0) == 2);
  return 0;
}
