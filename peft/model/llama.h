#pragma once

#include <memory>

#include "peft/model/network.h"

namespace rivulet {

// Llama: pre-norm blocks of grouped-query attention with rotary positions and SwiGLU
// (Touvron et al. 2023; docs/formats/model.md).
std::unique_ptr<Network> MakeLlama(std::shared_ptr<const BaseModel> base);

}  // namespace rivulet
