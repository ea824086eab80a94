#include "common/formats/adapter_hub.h"
#include "common/formats/peft_config.h"
#include "common/formats/prompt_adapter.h"
#include "tests/fuzz/require.h"

using namespace rivulet;

// An accepted adapter_config.json, written and read again, is the same; its patterns end in time.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto peft = ParsePeftLoraConfig(text); peft.ok()) {
    const auto again = ParsePeftLoraConfig(PeftLoraConfigText(*peft));
    Require(again.ok() && *again == *peft);
    (void)peft->ScaleOf("model.layers.0.self_attn.q_proj");
  }
  if (const auto prompt = ParsePeftPromptConfig(text); prompt.ok()) {
    const auto again = ParsePeftPromptConfig(PeftPromptConfigText(*prompt));
    Require(again.ok() && *again == *prompt);
  }
  if (const auto hub = ParseAdapterHubConfig(text); hub.ok()) {
    const auto again = ParseAdapterHubConfig(AdapterHubConfigText(*hub));
    Require(again.ok() && *again == *hub);
  }
  return 0;
}
