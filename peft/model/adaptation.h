#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace rivulet {

// A low-rank term beside a linear map: y += scale * B (A drop(x)).
struct LowRank {
  at::Tensor a;  // [r, in], fp32; a pass of several lanes: or [lanes, r, in]
  at::Tensor b;  // [out, r], fp32; or [lanes, out, r]
  double scale = 1;
  double dropout = 0;
  uint32_t site = 0;  // which dropout mask: the position of the module among the adapted ones
};

enum class Activation { kRelu, kGelu, kSwish, kTanh };

// A bottleneck after the feed-forward block: h + U act(D x + d) + u.
struct Bottleneck {
  at::Tensor down_weight, down_bias;  // [w, hidden], [w]
  at::Tensor up_weight, up_bias;      // [hidden, w], [hidden]
  Activation activation = Activation::kRelu;
};

// A soft prompt, before the embeddings of every sequence: `values` themselves, or start +
// projection values, computed anew in every pass.
struct PromptVectors {
  at::Tensor values;      // [tokens, hidden], or [n] with a projection; or with [lanes] in front
  at::Tensor start;       // [tokens, hidden]; undefined without a projection
  at::Tensor projection;  // [tokens * hidden, n]

  int64_t tokens() const { return start.defined() ? start.size(0) : values.size(-2); }
};

// What a method puts onto the frozen model for one pass. Tensors that are trained are leaves of
// autograd; everything is keyed by the names of the checkpoint. In a pass of several lanes each may
// have one of its own: a dimension [lanes] in front (LaneLosses).
struct Adaptation {
  std::map<std::string, LowRank, std::less<>> low_rank;  // by module, "model.layers.0.mlp.up_proj"
  std::map<int64_t, Bottleneck> after_feed_forward;      // by layer
  std::map<std::string, at::Tensor, std::less<>> replaced;  // by tensor, in place of the base's
  // What a pass reads instead of a tensor of `replaced`, by its name: made anew whenever a layer
  // asks, so that those of one layer exist at a time. Empty: `replaced` as it is.
  std::function<at::Tensor(std::string_view, const at::Tensor&)> moved;
  std::optional<PromptVectors> prompt;

  int64_t virtual_tokens() const { return prompt ? prompt->tokens() : 0; }

  const LowRank* LowRankOf(std::string_view module) const {
    const auto it = low_rank.find(module);
    return it == low_rank.end() ? nullptr : &it->second;
  }
};

}  // namespace rivulet
