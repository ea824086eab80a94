#include "peft/model/llama.h"

#include <ATen/ATen.h>

#include <functional>

#include "peft/model/dropout.h"
#include "peft/model/layers.h"
#include "peft/model/rotary.h"

namespace rivulet {
namespace {

class Llama : public Network {
 public:
  explicit Llama(std::shared_ptr<const BaseModel> base) : Network(std::move(base)) {}

  at::Tensor Hidden(const Batch& batch, const Adaptation& adaptation, Pass& pass) const override {
    const RotaryTable rotary = RotaryTableOf(base().config(), 0, batch.length, batch.length);
    kernels::AttentionShape shape = ShapeOf(batch.size, batch.length);
    shape.lanes = pass.lanes;
    // Padding is on the right, so no real query sees it and causality is mask enough.
    const double rate = base().config().attention_dropout;
    const Mixer attend = [this, shape, rotary, rate, &adaptation, &pass](int64_t layer,
                                                                         const at::Tensor& qkv) {
      kernels::AttentionShape own = shape;
      own.may_round = IsBf16(layer, adaptation);
      own.dropout = MaskOf(pass, DropoutSite(DropoutPlace::kAttention, layer), rate);
      return Attend(qkv, own, {}, &rotary, pass);
    };
    at::Tensor x = PutPrompt(Embed(batch.ids, adaptation), batch.size, adaptation);
    for (int64_t layer = 0; layer < base().config().num_hidden_layers; ++layer) {
      x = Checkpointed(x, pass, [this, layer, attend, &adaptation, &pass](const at::Tensor& in) {
        return Layer(layer, in, attend, adaptation, pass);
      });
    }
    return RmsNorm(x, Weight("model.norm.weight", adaptation), base().config().norm_eps);
  }

  at::Tensor Continue(const at::Tensor& ids, KeyValueCache& cache, const Adaptation& adaptation,
                      Pass& pass) const override {
    at::Tensor x = Embed(ids, adaptation);
    if (cache.length == 0) x = PutPrompt(x, 1, adaptation);
    const int64_t count = x.size(0), total = cache.length + count;
    const RotaryTable rotary = RotaryTableOf(base().config(), cache.length, count, total);
    const Mixer attend = [&](int64_t layer, const at::Tensor& qkv) {
      return AttendWithCache(qkv, ShapeOf(1, count), rotary, cache.length,
                             RowsOf(cache, layer, total));
    };
    for (int64_t layer = 0; layer < base().config().num_hidden_layers; ++layer) {
      x = Layer(layer, x, attend, adaptation, pass);
    }
    cache.length = total;
    return RmsNorm(x, Weight("model.norm.weight", adaptation), base().config().norm_eps);
  }

  at::Tensor OutputMatrix(const Adaptation& adaptation) const override {
    const bool own =
        !base().config().tie_word_embeddings || adaptation.replaced.contains("lm_head.weight");
    return Weight(own ? "lm_head.weight" : "model.embed_tokens.weight", adaptation);
  }

  at::Tensor Classify(const at::Tensor& hidden, const Batch& batch, const Adaptation& adaptation,
                      Pass& pass) const override {
    const at::Tensor last =
        batch.counts.to(at::kLong) - 1 + at::arange(batch.size, at::kLong) * batch.length;
    return TrainedLinear(hidden.index_select(0, last.to(hidden.device())),
                         Weight("score.weight", adaptation), {}, pass);
  }

 private:
  // Attention of a layer: rows of queries, keys and values to rows of heads.
  using Mixer = std::function<at::Tensor(int64_t layer, const at::Tensor& qkv)>;

  // Attention is in the arithmetic of the maps before it: those that are trained whole are fp32.
  bool IsBf16(int64_t layer, const Adaptation& adaptation) const {
    const std::string at = "model.layers." + std::to_string(layer) + ".self_attn.q_proj.weight";
    return TypeOf(at, adaptation) == at::kBFloat16;
  }

  kernels::AttentionShape ShapeOf(int64_t size, int64_t length) const {
    const ModelConfig& config = base().config();
    return {size, length, config.num_attention_heads, config.num_key_value_heads, config.head_dim,
            true, nullptr};
  }

  // The cache of a layer with room for `total` tokens; grows by doubling.
  at::Tensor& RowsOf(KeyValueCache& cache, int64_t layer, int64_t total) const {
    const ModelConfig& config = base().config();
    cache.rows.resize(config.num_hidden_layers);
    at::Tensor& rows = cache.rows[layer];
    if (rows.defined() && rows.size(0) >= total) return rows;
    at::Tensor grown = at::empty(
        {std::max<int64_t>(64, 2 * total), 2 * config.num_key_value_heads * config.head_dim},
        at::kFloat);
    if (rows.defined()) grown.narrow(0, 0, cache.length).copy_(rows.narrow(0, 0, cache.length));
    rows = grown;
    return rows;
  }

  at::Tensor Embed(const at::Tensor& ids, const Adaptation& adaptation) const {
    return at::embedding(Weight("model.embed_tokens.weight", adaptation), ids).to(at::kFloat);
  }

  at::Tensor Layer(int64_t layer, const at::Tensor& x, const Mixer& attend,
                   const Adaptation& adaptation, Pass& pass) const {
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    const at::Tensor n =
        RmsNorm(x, Weight(at + "input_layernorm.weight", adaptation), base().config().norm_eps);
    const Linear qkv[] = {LinearOf(at + "self_attn.q_proj", adaptation),
                          LinearOf(at + "self_attn.k_proj", adaptation),
                          LinearOf(at + "self_attn.v_proj", adaptation)};
    const Linear o[] = {LinearOf(at + "self_attn.o_proj", adaptation)};
    const at::Tensor middle = x + Project(attend(layer, Project(n, qkv, pass)), o, pass);
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
    return h + BottleneckOutput(adapter->second, h + x, pass);
  }
};

}  // namespace

std::unique_ptr<Network> MakeLlama(std::shared_ptr<const BaseModel> base) {
  return std::make_unique<Llama>(std::move(base));
}

}  // namespace rivulet
