#include "common/formats/model_config.h"
#include "common/formats/model_tensors.h"
#include "common/formats/peft_names.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

// Every accepted config gives tensors whose sizes can be computed, and modules to adapt.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = ParseModelConfig({reinterpret_cast<const char*>(data), size});
  if (!config.ok()) return 0;
  Require(config->head_dim > 0 && config->num_attention_heads % config->num_key_value_heads == 0);
  Require(config->family == ModelFamily::kBert || config->head_dim % 2 == 0);
  Require(!config->labels.empty());
  for (const ExpectedTensor& tensor : ExpectedTensors(*config)) {
    int64_t elements = 1;
    for (int64_t dim : tensor.shape) {
      Require(dim > 0 && !__builtin_mul_overflow(elements, dim, &elements));
    }
  }
  Require(!LinearModules(*config).empty());
  return 0;
}
