#include <filesystem>

#include "common/formats/adapter_hub.h"
#include "common/io/file.h"
#include "tests/fuzz/require.h"
#include "tests/scratch_root.h"

using namespace rivulet;

namespace {

// A folder with everything but head_config.json.
std::filesystem::path Folder() {
  const std::filesystem::path& folder = ScratchRoot::Path();
  BottleneckAdapter adapter;
  adapter.config = {"t", "base", "bert", "BertForSequenceClassification", 4, 2, "relu", {}};
  const std::string site = "bert.encoder.layer.0.output.adapters.t.";
  adapter.weights = ParameterSet(Manifest{{site + "adapter_down.0.weight", DType::kF32, {2, 4}},
                                          {site + "adapter_up.weight", DType::kF32, {4, 2}}});
  adapter.head = ParameterSet(
      Manifest{{"classifier.bias", DType::kF32, {3}}, {"classifier.weight", DType::kF32, {3, 4}}});
  adapter.labels = {"a", "b", "c"};
  Require(WriteAdapterHubDirectory(folder, adapter).ok());
  Require(ReadAdapterHubDirectory(folder).ok());
  return folder;
}

}  // namespace

// A head_config.json of any content is refused, or its labels are written and read again the same.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::filesystem::path folder = Folder();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Require(WriteFileAtomically(folder / "head_config.json", text).ok());
  const auto adapter = ReadAdapterHubDirectory(folder);
  if (!adapter.ok()) return 0;
  const auto copy = folder / "copy";
  std::filesystem::create_directories(copy);
  Require(WriteAdapterHubDirectory(copy, *adapter).ok());
  const auto again = ReadAdapterHubDirectory(copy);
  Require(again.ok() && again->labels == adapter->labels);
  return 0;
}
