#include <cmath>
#include <memory>

#include "aggregation/codec/codec.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

namespace {

Manifest FuzzManifest() {
  return {{"a", DType::kF32, {12, 9}},
          {"b", DType::kF32, {0}},
          {"c", DType::kF32, {}},
          {"d", DType::kF32, {37}}};
}

// Every codec twice: as it is, and with the lossless step; small blocks, so that there are several.
const std::vector<std::unique_ptr<Codec>>& AllCodecs() {
  static const auto codecs = [] {
    std::vector<std::unique_ptr<Codec>> made;
    for (const bool zstd : {false, true}) {
      for (const std::string_view name : CodecNames()) {
        CodecSettings settings{.name = std::string(name), .block = 8, .fraction = 0.1};
        settings.columns = 11;
        settings.block_log2 = 5;
        settings.zstd = zstd;
        made.push_back(*MakeCodec(settings));
      }
    }
    return made;
  }();
  return codecs;
}

}  // namespace

// The payload of a stranger: refused as InvalidArgument, or it decodes to finite numbers and is no
// longer than the codec says.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view payload(reinterpret_cast<const char*>(data), size);
  const uint32_t blocks[] = {0, 2, 3};
  const CodecContext context{.root = 1, .round = 2, .blocks = blocks};
  for (const auto& codec : AllCodecs()) {
    ParameterSet out(FuzzManifest());
    const absl::Status status = codec->Decode(payload, context, out);
    Require(status.ok() || status.code() == absl::StatusCode::kInvalidArgument);
    if (!status.ok()) continue;
    Require(CheckFinite(out).ok());
    Require(size <= codec->MaxEncodedBytes(FuzzManifest()));
  }
  return 0;
}
