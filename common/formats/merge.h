#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "common/formats/adapter_directory.h"
#include "common/formats/lora_adapter.h"
#include "common/formats/whole_tensors.h"

namespace rivulet {

struct MergeOptions {
  uint64_t shard_bytes = 50'000'000'000;  // transformers' default; never splits a tensor
  bool overwrite = false;                 // replace a model that is already there
  std::optional<DType> dtype;             // F32, BF16 or F16 of every tensor; absent = as the base
};

struct MergeReport {
  size_t merged = 0;    // matrices that got their dW
  size_t replaced = 0;  // tensors that were trained whole
  uint64_t bytes = 0;   // of tensors written
  size_t shards = 0;
  double largest_difference = 0;  // |written - (W + dW)|: the rounding to the file's dtype
};

// A whole model with the adapter in it: W + scale B A in binary32, rounded to nearest even in the
// dtype of W; heads of the adapter replace or join those of the model. Weights, `config.json` (for
// a new head with its architecture and `labels`), generation and tokenizer files, provenance. One
// matrix in memory at a time. Reads everything back and compares before it takes the place of what
// was in `out`, which a failure leaves as it was. `labels` are the class names of a
// head that is not in the model's config; empty = keep the config's, or LABEL_0 and so on when
// their number is not that of the adapter's head. Errors: AlreadyExists without `overwrite`;
// InvalidArgument when the adapter does not fit, or adapts or replaces a head that is tied to the
// embedding; DataLoss when what was read back differs; those of reading and writing.
absl::StatusOr<MergeReport> MergeModel(const std::filesystem::path& base,
                                       const LoraAdapter& adapter,
                                       const std::vector<std::string>& labels,
                                       const std::filesystem::path& out, Provenance provenance,
                                       const MergeOptions& options = {});
// The same with tensors trained whole in the place of the base's; one that input and output share
// changes both. Errors: InvalidArgument for a tensor that the model has not, or not in that shape.
absl::StatusOr<MergeReport> MergeModel(const std::filesystem::path& base,
                                       const WholeTensors& tensors,
                                       const std::vector<std::string>& labels,
                                       const std::filesystem::path& out, Provenance provenance,
                                       const MergeOptions& options = {});

}  // namespace rivulet
