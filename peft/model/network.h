#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "peft/data/example.h"
#include "peft/model/adaptation.h"
#include "peft/model/base_model.h"
#include "peft/model/ops.h"

namespace rivulet {

enum class Task { kCausalLm, kClassification };

// Sequences of one step, padded on the right to the longest.
struct Batch {
  int64_t size = 0;    // sequences
  int64_t length = 0;  // tokens of each, padding included
  int64_t tokens = 0;  // padding not counted
  at::Tensor ids;      // [size * length] int64
  at::Tensor types;    // [size * length] int64; undefined = all 0
  at::Tensor counts;   // [size] int32: tokens of each sequence
  // Causal LM: rows whose next token counts, and those next tokens. Classification: `targets`
  // alone, one class a sequence.
  at::Tensor rows;     // [n] int64, positions in 0 .. size * length
  at::Tensor targets;  // [n] int32
  // Positions of a soft prompt at the front of each sequence: counted in `length`, `counts` and
  // `rows`, not in `tokens`; `ids` holds what follows them.
  int64_t virtual_tokens = 0;
};
// Errors: InvalidArgument naming the example whose id, label or length is out of range.
absl::StatusOr<Batch> MakeBatch(std::span<const Example* const> examples, Task task,
                                const ModelConfig& config);

// The batch as a network with the adaptation's soft prompt sees it; itself without one. The prompt
// is of segment 0, as in HF PEFT.
Batch BehindPrompt(Batch batch, const Adaptation& adaptation);

// Keys and values of a sequence so far, for generation.
struct KeyValueCache {
  int64_t length = 0;            // tokens
  std::vector<at::Tensor> rows;  // by layer: [capacity, 2 * kv_heads * head_dim], keys rotated
};

// The forward pass of one architecture over a base model and an adaptation. Holds no state of a
// pass; safe from many threads with a Pass each. Failures inside libtorch are C++ exceptions.
class Network {
 public:
  virtual ~Network() = default;

  // States after the last layer, final norm applied: [size * length, hidden]. The batch is that of
  // BehindPrompt. With checkpointing, adaptation and pass must live until the backward pass is
  // over.
  virtual at::Tensor Hidden(const Batch& batch, const Adaptation& adaptation, Pass& pass) const = 0;
  // States of `ids` [n] int64, which follow what is in the cache: [n, hidden]. The cache grows by
  // n; an empty one begins with the soft prompt, whose states come first. Throws for an
  // architecture that does not generate.
  virtual at::Tensor Continue(const at::Tensor& ids, KeyValueCache& cache,
                              const Adaptation& adaptation, Pass& pass) const = 0;
  // What turns hidden states into logits over the vocabulary: [vocabulary, hidden].
  virtual at::Tensor OutputMatrix(const Adaptation& adaptation) const = 0;
  // Logits of each sequence: [size, classes].
  virtual at::Tensor Classify(const at::Tensor& hidden, const Batch& batch,
                              const Adaptation& adaptation, Pass& pass) const = 0;

  const BaseModel& base() const { return *base_; }

 protected:
  explicit Network(std::shared_ptr<const BaseModel> base) : base_(std::move(base)) {}
  // The trained tensor of that name, else the base's; throws when there is none.
  at::Tensor Weight(std::string_view name, const Adaptation& adaptation) const;
  // The same, undefined when there is none.
  at::Tensor WeightIfAny(std::string_view name, const Adaptation& adaptation) const;
  // The type of Weight, which is not made for it.
  at::ScalarType TypeOf(std::string_view name, const Adaptation& adaptation) const;
  // Embeddings [size * tokens, hidden] of `size` sequences, each behind the soft prompt if there is
  // one.
  static at::Tensor PutPrompt(const at::Tensor& embedded, int64_t size,
                              const Adaptation& adaptation);
  // The linear map of module `path`, "model.layers.0.mlp.up_proj".
  Linear LinearOf(const std::string& path, const Adaptation& adaptation) const;

 private:
  std::shared_ptr<const BaseModel> base_;
};

std::unique_ptr<Network> MakeNetwork(std::shared_ptr<const BaseModel> base);

// Mean loss of the batch (differentiable), with sums for the report; with a divisor, the sum over
// that. Throws libtorch's exceptions.
LossSums BatchLoss(const Network& network, const Batch& batch, Task task,
                   const Adaptation& adaptation, Pass& pass, double divisor = 0);

}  // namespace rivulet
