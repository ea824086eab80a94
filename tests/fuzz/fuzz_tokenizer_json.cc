#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "common/utf8.h"
#include "peft/tokenizer/tokenizer.h"

// A tokenizer.json of any content is refused or works: every id it gives is below id_limit()
// (special ones of a template aside), and decoding them gives UTF-8.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tokenizer = rivulet::Tokenizer::Parse({reinterpret_cast<const char*>(data), size});
  if (!tokenizer.ok()) return 0;
  for (const std::string_view text :
       {"Hello  world's\n12 ", " <s>na\xC3\xAFve</s> \xE6\x97\xA5\xF0\x9F\x98\x80#x ", ""}) {
    const auto encoding = tokenizer->Encode(text);
    if (!encoding.ok()) continue;
    if (encoding->type_ids.size() != encoding->ids.size()) std::abort();
    for (size_t at = 0; at < encoding->ids.size(); ++at) {
      if (encoding->special_mask[at] != 0) continue;
      if (encoding->ids[at] < 0 || encoding->ids[at] >= tokenizer->id_limit()) std::abort();
    }
    const auto decoded = tokenizer->Decode(encoding->ids, false);
    if (!decoded.ok()) continue;
    if (!rivulet::IsUtf8(*decoded)) std::abort();
  }
  return 0;
}
