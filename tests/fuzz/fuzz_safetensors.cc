#include "common/formats/safetensors.h"
#include "common/formats/safetensors_writer.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

// What is accepted must be written and read back as the same tensors, and written again as the same
// bytes.
static void Check(std::string_view file, SafetensorsProfile profile) {
  const auto view = SafetensorsView::Parse(file, profile);
  if (!view.ok()) {
    Require(SafetensorsErrorOf(view.status()).has_value());
    return;
  }
  const auto bytes = SafetensorsBytes(view->tensors(), view->metadata());
  Require(bytes.ok());
  const auto again = SafetensorsView::Parse(*bytes, profile);
  Require(again.ok() && again->manifest() == view->manifest());
  Require(again->metadata() == view->metadata());
  for (const TensorView& tensor : view->tensors()) {
    const TensorView* twin = again->Find(tensor.spec.name);
    Require(twin->bytes.size() == tensor.spec.size_bytes());
    Require(std::equal(twin->bytes.begin(), twin->bytes.end(), tensor.bytes.begin()));
  }
  Require(*SafetensorsBytes(again->tensors(), again->metadata()) == *bytes);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  Check(file, SafetensorsProfile::kUpload);
  Check(file, SafetensorsProfile::kBaseModel);
  return 0;
}
