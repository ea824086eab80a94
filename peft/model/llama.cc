#include "peft/model/llama.h"

#include <ATen/ATen.h>

#include "peft/model/layers.h"
#include "peft/model/rotary.h"

namespace rivulet {
namespace {

class Llama : public Network {
 public:
  explicit Llama(std::shared_ptr<const BaseModel> base) : Network(std::move(base)) {}

  at::Tensor Hidden(const Batch& batch, const Adaptation& adaptation, Pass& pass) const override {
    const RotaryTable rotary = RotaryTableOf(base().config(), 0, batch.length, batch.length);
    at::Tensor x =
        at::embedding(Weight("model.embed_tokens.weight", adaptation), batch.ids).contiguous();
    for (int64_t layer = 0; layer < base().config().num_hidden_layers; ++layer) {
      // Copies, so that a layer computed again in the backward pass finds what it needs.
      x = Checkpointed(x, pass,
                       [this, layer, rotary, &batch, &adaptation, &pass](const at::Tensor& in) {
                         return Layer(layer, in, batch, rotary, adaptation, pass);
                       });
    }
    return RmsNorm(x, Weight("model.norm.weight", adaptation), base().config().norm_eps);
  }

  at::Tensor OutputMatrix(const Adaptation& adaptation) const override {
    const bool own =
        !base().config().tie_word_embeddings || adaptation.replaced.contains("lm_head.weight");
    return Weight(own ? "lm_head.weight" : "model.embed_tokens.weight", adaptation);
  }

  at::Tensor Classify(const at::Tensor& hidden, const Batch& batch,
                      const Adaptation& adaptation) const override {
    const at::Tensor last =
        batch.counts.to(at::kLong) - 1 + at::arange(batch.size, at::kLong) * batch.length;
    return at::linear(hidden.index_select(0, last.to(hidden.device())),
                      Weight("score.weight", adaptation));
  }

 private:
  kernels::AttentionShape ShapeOf(const Batch& batch) const {
    const ModelConfig& config = base().config();
    return {batch.size,
            batch.length,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            true,
            nullptr};
  }

  at::Tensor Layer(int64_t layer, const at::Tensor& x, const Batch& batch,
                   const RotaryTable& rotary, const Adaptation& adaptation, Pass& pass) const {
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    const double epsilon = base().config().norm_eps;
    const at::Tensor n = RmsNorm(x, Weight(at + "input_layernorm.weight", adaptation), epsilon);
    const Linear qkv[] = {LinearOf(at + "self_attn.q_proj", adaptation),
                          LinearOf(at + "self_attn.k_proj", adaptation),
                          LinearOf(at + "self_attn.v_proj", adaptation)};
    // Padding is on the right, so no real query sees it and causality is mask enough.
    const at::Tensor mixed = Attend(Project(n, qkv, pass), ShapeOf(batch), {}, &rotary, pass);
    const Linear o[] = {LinearOf(at + "self_attn.o_proj", adaptation)};
    const at::Tensor middle = x + Project(mixed, o, pass);
    return middle + FeedForward(at, layer, middle, adaptation, pass);
  }

  at::Tensor FeedForward(const std::string& at, int64_t layer, const at::Tensor& x,
                         const Adaptation& adaptation, Pass& pass) const {
    const at::Tensor n = RmsNorm(x, Weight(at + "post_attention_layernorm.weight", adaptation),
                                 base().config().norm_eps);
    const Linear gate_up[] = {LinearOf(at + "mlp.gate_proj", adaptation),
                              LinearOf(at + "mlp.up_proj", adaptation)};
    const Linear down[] = {LinearOf(at + "mlp.down_proj", adaptation)};
    const at::Tensor h = Project(SwiGlu(Project(n, gate_up, pass)), down, pass);
    const auto adapter = adaptation.after_feed_forward.find(layer);
    if (adapter == adaptation.after_feed_forward.end()) return h;
    return h + BottleneckOutput(adapter->second, h + x);
  }
};

}  // namespace

std::unique_ptr<Network> MakeLlama(std::shared_ptr<const BaseModel> base) {
  return std::make_unique<Llama>(std::move(base));
}

}  // namespace rivulet
