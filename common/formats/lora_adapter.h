#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/formats/adapter_manifest.h"
#include "common/formats/peft_config.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// One adapted Linear of an adapter: W' = W + scale * B A.
struct LoraFactors {
  std::string path;  // module in the model
  size_t a = 0;      // rows of LoraAdapter::weights: A [rank,in], B [out,rank]
  size_t b = 0;
  int64_t rank = 0;
  double scale = 0;
};

// A LoRA as it lies in a PEFT folder.
struct LoraAdapter {
  PeftLoraConfig config;
  ParameterSet weights;              // PEFT keys, sorted; dtype as in the file
  std::vector<LoraFactors> factors;  // sorted by path
  std::vector<size_t> saved;         // rows of `weights` that replace whole tensors of the model

  // "classifier.weight" for row `row` of `saved`: the name in the model.
  std::string SavedName(size_t row) const;
};

// Sorts out which key is what and holds shapes against the config. Errors: InvalidArgument naming
// the key: no pair, wrong rank, not in modules_to_save; Unimplemented for embeddings, DoRA
// magnitudes, base weights in the file, dtypes other than F32, BF16, F16.
absl::StatusOr<LoraAdapter> MakeLoraAdapter(PeftLoraConfig config, ParameterSet weights);

// Every module exists in the model with those widths, every saved tensor with that shape. Errors:
// InvalidArgument naming the module.
absl::StatusOr<std::vector<LinearModule>> CheckFits(const LoraAdapter& adapter,
                                                    const ModelConfig& config);

// What a job trained, as PEFT describes it. `state` holds plan.full() (see CompleteState).
// Targets are written as short names when those select the same modules, else as paths; a pattern
// stays a pattern. Errors: InvalidArgument when the method is not lora or the state does not fit.
absl::StatusOr<LoraAdapter> LoraAdapterOf(const JobModel& model, const JobSpec& job,
                                          ParameterSet state);

// adapter_config.json and adapter_model.safetensors. Reading: errors of the parsers with the path;
// NotFound; adapter_model.bin is named and refused. Writing: folders are made, files appear
// atomically.
absl::StatusOr<LoraAdapter> ReadPeftDirectory(const std::filesystem::path& directory);
absl::Status WritePeftDirectory(const std::filesystem::path& directory, const LoraAdapter& adapter);

// The same dW with r = the largest rank for every module, no patterns, no rsLoRA. Equal ranks and
// scales keep their bytes; else alpha = r, A gets zero rows, B zero columns times the module's
// scale, in F32. Saved modules stay.
absl::StatusOr<LoraAdapter> WithUniformRank(const LoraAdapter& adapter);

// That for readers which know one r and one alpha (vLLM, llama.cpp). Errors: Unimplemented for
// modules_to_save, which they refuse.
absl::StatusOr<LoraAdapter> PortableLora(const LoraAdapter& adapter);

// Classes of a sequence-classification head among the saved tensors; 0 without one.
int64_t HeadClasses(const LoraAdapter& adapter);

// dW of one module in binary32: out[o*in + i] = scale * sum_k B[o,k] A[k,i], the sum over k in
// order. Rows first_row .. first_row + out.size()/in of the [out,in] matrix.
void DeltaRows(const LoraAdapter& adapter, const LoraFactors& factors, int64_t first_row,
               std::span<float> out);

// Largest |dW - dW'| over all modules. Errors: InvalidArgument when the modules differ.
absl::StatusOr<double> LargestDeltaDifference(const LoraAdapter& left, const LoraAdapter& right);

}  // namespace rivulet
