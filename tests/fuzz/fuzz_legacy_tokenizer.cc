#include "peft/tokenizer/legacy_files.h"
#include "peft/tokenizer/tokenizer.h"
#include "tests/fuzz/scratch_file.h"

using namespace rivulet;

namespace {

// Splits at the first NUL, which none of the files may hold.
std::pair<std::string_view, std::string_view> Halves(std::string_view text) {
  const size_t end = std::min(text.find('\0'), text.size());
  return {text.substr(0, end), text.substr(std::min(end + 1, text.size()))};
}

}  // namespace

// A folder of the time before tokenizer.json. The first byte says which: vocab.json and merges.txt,
// or vocab.txt and tokenizer_config.json, with a NUL between the two. Refused, or a tokenizer whose
// ids are all below its limit.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto [first, second] = Halves({reinterpret_cast<const char*>(data) + 1, size - 1});
  const std::filesystem::path& folder = ScratchRoot::Path();
  constexpr uint64_t kMaxBytes = 1 << 20;
  absl::StatusOr<std::string> text;
  if (data[0] % 2 == 0) {
    ScratchFile("vocab.json", first);
    ScratchFile("merges.txt", second);
    text = TokenizerJsonFromLegacyFiles(folder, "", kMaxBytes);
  } else {
    std::filesystem::remove(folder / "vocab.json");
    ScratchFile("vocab.txt", first);
    text = TokenizerJsonFromLegacyFiles(folder, second, kMaxBytes);
  }
  if (!text.ok()) return 0;
  const auto tokenizer = Tokenizer::Parse(*text);
  if (!tokenizer.ok()) return 0;
  const auto encoding = tokenizer->Encode("Hello  world's\n12 ");
  if (!encoding.ok()) return 0;
  for (const int32_t id : encoding->ids) Require(id >= 0 && id < tokenizer->id_limit());
  return 0;
}
