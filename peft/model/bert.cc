#include "peft/model/bert.h"

#include <ATen/ATen.h>

#include "peft/model/dropout.h"
#include "peft/model/layers.h"

namespace rivulet {
namespace {

class Bert : public Network {
 public:
  explicit Bert(std::shared_ptr<const BaseModel> base) : Network(std::move(base)) {}

  at::Tensor Hidden(const Batch& batch, const Adaptation& adaptation, Pass& pass) const override {
    at::Tensor x = Drop(Embed(batch, adaptation), DropoutSite(DropoutPlace::kEmbeddings),
                        base().config().hidden_dropout, pass);
    for (int64_t layer = 0; layer < base().config().num_hidden_layers; ++layer) {
      x = Checkpointed(x, pass, [this, layer, batch, &adaptation, &pass](const at::Tensor& in) {
        return Layer(layer, in, batch, adaptation, pass);
      });
    }
    return x;
  }

  at::Tensor Continue(const at::Tensor& ids, KeyValueCache& cache, const Adaptation& adaptation,
                      Pass& pass) const override {
    TORCH_CHECK(false, "bert does not generate");
  }

  at::Tensor OutputMatrix(const Adaptation& adaptation) const override {
    TORCH_CHECK(false, "bert has no language-model head here");
  }

  at::Tensor Classify(const at::Tensor& hidden, const Batch& batch, const Adaptation& adaptation,
                      Pass& pass) const override {
    const ModelConfig& config = base().config();
    const at::Tensor first =
        at::arange(batch.size, at::device(hidden.device()).dtype(at::kLong)) * batch.length;
    const Linear pooler[] = {LinearOf("bert.pooler.dense", adaptation)};
    const at::Tensor pooled = at::tanh(Project(hidden.index_select(0, first), pooler, pass));
    const double rate = config.classifier_dropout.value_or(config.hidden_dropout);
    return TrainedLinear(Drop(pooled, DropoutSite(DropoutPlace::kClassifier), rate, pass),
                         Weight("classifier.weight", adaptation),
                         Weight("classifier.bias", adaptation), pass);
  }

 private:
  at::Tensor Norm(const std::string& path, const at::Tensor& x,
                  const Adaptation& adaptation) const {
    return at::layer_norm(x, {x.size(1)}, Weight(path + ".weight", adaptation),
                          Weight(path + ".bias", adaptation), base().config().norm_eps);
  }

  at::Tensor Embed(const Batch& batch, const Adaptation& adaptation) const {
    const std::string at = "bert.embeddings.";
    const at::Tensor positions = at::arange(batch.length, batch.ids.options()).repeat(batch.size);
    const at::Tensor types = batch.types.defined() ? batch.types : at::zeros_like(positions);
    const auto rows = [&](const char* table, const at::Tensor& ids) {
      return at::embedding(Weight(at + table + ".weight", adaptation), ids).to(at::kFloat);
    };
    const at::Tensor words = PutPrompt(rows("word_embeddings", batch.ids), batch.size, adaptation);
    const at::Tensor sum =
        words + rows("token_type_embeddings", types) + rows("position_embeddings", positions);
    return Norm(at + "LayerNorm", sum, adaptation);
  }

  at::Tensor Layer(int64_t layer, const at::Tensor& x, const Batch& batch,
                   const Adaptation& adaptation, Pass& pass) const {
    const std::string at = "bert.encoder.layer." + std::to_string(layer) + ".";
    const ModelConfig& config = base().config();
    const Linear qkv[] = {LinearOf(at + "attention.self.query", adaptation),
                          LinearOf(at + "attention.self.key", adaptation),
                          LinearOf(at + "attention.self.value", adaptation)};
    const int64_t heads = config.num_attention_heads;
    kernels::AttentionShape shape = {
        batch.size, batch.length, heads, heads, config.hidden_size / heads, false, nullptr};
    shape.lanes = pass.lanes;
    shape.may_round =
        qkv[0].weight.scalar_type() == at::kBFloat16;  // fp32 where it is trained whole
    shape.dropout =
        MaskOf(pass, DropoutSite(DropoutPlace::kAttention, layer), config.attention_dropout);
    const at::Tensor mixed = Attend(Project(x, qkv, pass), shape, batch.counts, nullptr, pass);
    const Linear dense[] = {LinearOf(at + "attention.output.dense", adaptation)};
    const at::Tensor h =
        Drop(Project(mixed, dense, pass), DropoutSite(DropoutPlace::kAttentionOutput, layer),
             config.hidden_dropout, pass);
    const at::Tensor middle = Norm(at + "attention.output.LayerNorm", h + x, adaptation);
    return FeedForward(at, layer, middle, adaptation, pass);
  }

  // h = drop(dense). With a bottleneck: LN(u(LN(h + x)) + h + x), the same norm twice.
  at::Tensor FeedForward(const std::string& at, int64_t layer, const at::Tensor& x,
                         const Adaptation& adaptation, Pass& pass) const {
    const Linear rise[] = {LinearOf(at + "intermediate.dense", adaptation)};
    const Linear fall[] = {LinearOf(at + "output.dense", adaptation)};
    const at::Tensor h =
        Drop(Project(at::gelu(Project(x, rise, pass)), fall, pass),
             DropoutSite(DropoutPlace::kOutput, layer), base().config().hidden_dropout, pass);
    at::Tensor sum = h + x;
    const auto adapter = adaptation.after_feed_forward.find(layer);
    if (adapter != adaptation.after_feed_forward.end()) {
      const at::Tensor normed = Norm(at + "output.LayerNorm", sum, adaptation);
      sum = sum + BottleneckOutput(adapter->second, normed, pass);
    }
    return Norm(at + "output.LayerNorm", sum, adaptation);
  }
};

}  // namespace

std::unique_ptr<Network> MakeBert(std::shared_ptr<const BaseModel> base) {
  return std::make_unique<Bert>(std::move(base));
}

}  // namespace rivulet
