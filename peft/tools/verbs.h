#pragma once

#include "common/status.h"
#include "peft/tools/options.h"

// The verbs of `rivulet model`. Each writes its result to stdout, as text or as one JSON object,
// and notes to stderr. Nothing in a folder is ever executed.
//
// Errors: those of the readers and writers, naming file, value seen and value wanted. Exit codes:
// ExitCodeOfModelTool.

namespace rivulet {

// What a model or adapter folder holds: family, sizes, tensors, tokenizer; method, rank, modules;
// hashes. A damaged tokenizer is an error, one of a kind that is not supported is only told; of a
// model of such a kind, what can be shown without knowing its family.
absl::Status InspectFolder(const ModelToolOptions& options);

// The base model with a LoRA in its weights. Errors also: Unimplemented for a bottleneck adapter,
// AlreadyExists.
absl::Status MergeAdapter(const ModelToolOptions& options);

// The adapter for another reader. Errors also: AlreadyExists, InvalidArgument when it would
// overwrite what it reads.
absl::Status ExportAdapterFolder(const ModelToolOptions& options);

// A prompt continued. In text the tokens appear as they are drawn.
absl::Status GenerateText(const ModelToolOptions& options);

// Loss, perplexity (causal-lm) and accuracy over a data file.
absl::Status EvaluateData(const ModelToolOptions& options);

// A mistake in what the user gave (a folder, a file's content, a value) is kConfig; a failed read
// or write kFailure; kResource as everywhere.
ExitCode ExitCodeOfModelTool(const absl::Status& status);

}  // namespace rivulet
