#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/formats/model_config.h"

// Which tensors a model of a given config has, and which name in a file holds each of them.

namespace rivulet {

enum class TensorNeed {
  kRequired,
  kTied,  // taken from `tied_to`; a copy in the file is ignored
  kHead,  // absent is normal for fine-tuning: then it is initialised and trained
};

struct ExpectedTensor {
  std::string name;  // as transformers 4 writes it, e.g. model.layers.0.mlp.up_proj.weight
  std::vector<int64_t> shape;
  TensorNeed need = TensorNeed::kRequired;
  std::string tied_to;  // kTied only
};

// In module order. A config whose head is kNone expects the base model alone.
std::vector<ExpectedTensor> ExpectedTensors(const ModelConfig& config);

struct TensorMatch {
  // Expected name -> name in the file. Tied tensors point to what they are tied to; absent heads
  // are not in the map.
  std::map<std::string, std::string> file_name_of;
  std::vector<std::string> missing_heads;  // modules, e.g. "bert.pooler.dense", "classifier"
  std::vector<std::string> ignored;        // names in the file that the model does not use
};

// Finds every expected tensor among those of the files. Handles a missing or additional base prefix
// (bare BertModel files), LayerNorm.gamma/beta, buffers (rotary_emb.inv_freq, position_ids) and
// heads of other tasks (`cls.*`, lm_head). Errors: InvalidArgument listing up to 20 missing and 20
// unexpected names, or naming the tensor whose shape or dtype (want F32, BF16 or F16) is wrong.
absl::StatusOr<TensorMatch> MatchTensors(const ModelConfig& config,
                                         const std::vector<TensorSpec>& in_files);

}  // namespace rivulet
