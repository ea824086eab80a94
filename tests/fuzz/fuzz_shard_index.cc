#include "common/formats/model_files.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto index = ParseShardIndex({reinterpret_cast<const char*>(data), size});
  if (!index.ok()) return 0;
  for (const std::string& file : index->files()) {
    Require(file.find('/') == file.npos && file.find("..") == file.npos && !file.empty());
  }
  const auto again = ParseShardIndex(ShardIndexText(*index, 1, 1));
  Require(again.ok() && again->file_of == index->file_of);
  return 0;
}
