#pragma once

#include <memory>

#include "peft/model/network.h"

namespace rivulet {

// BERT for sequence classification: post-norm blocks, learned positions, pooler and classifier
// (Devlin et al. 2019; docs/formats/model.md).
std::unique_ptr<Network> MakeBert(std::shared_ptr<const BaseModel> base);

}  // namespace rivulet
