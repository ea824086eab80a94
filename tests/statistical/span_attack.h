#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "common/formats/adapter_manifest.h"
#include "common/tensor/parameter_set.h"
#include "peft/model/base_model.h"

namespace rivulet {

// Which tokens a client trained on, from its LoRA update of the first layer. The input of that
// layer's projections is a function of the token alone: x = RMSNorm(embedding). With B = 0 a step
// of plain gradient descent moves B by a multiple of sum_t delta_t (A x_t)^T, so the rows of the
// change span the A x_t of the tokens that were there, and nothing else as long as they are fewer
// than the rank. A is public: drawn from the job's seed, or part of the global state.
// Source: Petrov et al. 2024 (DAGER), whose span check this is, here on a factor instead of a whole
// matrix. AdamW's first step is nearly the sign of the gradient and spans more.
class SpanAttack {
 public:
  SpanAttack(const BaseModel& base, const AdapterPlan& plan, const ParameterSet& complete_state) {
    const at::Tensor embedding = base.Find("model.embed_tokens.weight").to(at::kDouble);
    const at::Tensor norm = base.Find("model.layers.0.input_layernorm.weight").to(at::kDouble);
    const at::Tensor inputs =
        embedding * (embedding.square().mean(1, true) + base.config().norm_eps).rsqrt() * norm;
    for (const TrainedTensor& tensor : plan.tensors) {
      if (tensor.role != TensorRole::kLoraA) continue;
      if (tensor.module.find("layers.0.self_attn") == std::string::npos) continue;
      const at::Tensor seen = at::matmul(inputs, Copy(complete_state, tensor.spec.name).t());
      std::string b = tensor.spec.name;
      b.replace(b.find("lora_A"), 6, "lora_B");
      sites_.push_back({b, seen / seen.norm(2, 1, true)});
    }
  }

  // For every token of the vocabulary the largest share of its direction, 0..1, that lies in the
  // span of one projection's change. What the span is, and what rounding, says the largest fall
  // from one singular value to the next.
  std::vector<double> Scores(const ParameterSet& update) const {
    at::Tensor best;
    for (const Site& site : sites_) {
      const auto [u, values, rows] = at::linalg_svd(Copy(update, site.name), false);
      const at::Tensor share = at::matmul(site.seen, rows.slice(0, 0, SpanOf(values)).t());
      const at::Tensor score = share.square().sum(1);
      best = best.defined() ? at::maximum(best, score) : score;
    }
    const at::Tensor flat = best.contiguous();
    return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
  }

 private:
  struct Site {
    std::string name;  // of lora_B
    at::Tensor seen;   // A x of every token, of length 1: [V, r]
  };

  static at::Tensor Copy(const ParameterSet& set, const std::string& name) {
    const int64_t row = set.IndexOf(name);
    at::Tensor out = at::empty(set.manifest()[row].shape, at::kFloat);
    std::copy(set.floats(row).begin(), set.floats(row).end(), out.data_ptr<float>());
    return out.to(at::kDouble);
  }

  static int64_t SpanOf(const at::Tensor& values) {
    const at::Tensor sorted = values.contiguous();
    const double* s = sorted.data_ptr<double>();
    int64_t best = 1;
    for (int64_t k = 1; k < sorted.numel(); ++k) {
      if (s[k - 1] * s[best] > s[best - 1] * s[k]) best = k;
    }
    return best;
  }

  std::vector<Site> sites_;
};

}  // namespace rivulet
