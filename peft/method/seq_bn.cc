#include <ATen/ATen.h>

#include <charconv>
#include <optional>
#include <vector>

#include "peft/method/method.h"

namespace rivulet {
namespace {

struct AdapterSite {
  int64_t down_weight = -1, down_bias = -1, up_weight = -1, up_bias = -1;  // rows of the manifest
  bool complete() const {
    return down_weight >= 0 && down_bias >= 0 && up_weight >= 0 && up_bias >= 0;
  }
};

std::optional<Activation> ActivationOf(std::string_view name) {
  if (name == "relu") return Activation::kRelu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "swish") return Activation::kSwish;
  if (name == "tanh") return Activation::kTanh;
  return std::nullopt;
}

// The layer of "bert.encoder.layer.3.output.adapters..." or "model.layers.3.output_adapters...".
std::optional<int64_t> LayerOf(std::string_view name) {
  for (std::string_view key : {".layer.", ".layers."}) {
    const size_t at = name.find(key);
    if (at == std::string_view::npos) continue;
    int64_t layer = 0;
    const char* first = name.data() + at + key.size();
    const auto [end, error] = std::from_chars(first, name.data() + name.size(), layer);
    if (error == std::errc()) return layer;
  }
  return std::nullopt;
}

class SeqBn : public Method {
 public:
  SeqBn(Manifest manifest, Activation activation)
      : manifest_(std::move(manifest)), activation_(activation) {}

  std::string_view name() const override { return "seq_bn"; }
  const Manifest& manifest() const override { return manifest_; }

  Adaptation Bind(std::span<const at::Tensor> tensors) const override {
    Adaptation adaptation;
    for (const auto& [layer, site] : sites_) {
      adaptation.after_feed_forward[layer] = {tensors[site.down_weight], tensors[site.down_bias],
                                              tensors[site.up_weight], tensors[site.up_bias],
                                              activation_};
    }
    for (const auto& [tensor, row] : whole_) adaptation.replaced[tensor] = tensors[row];
    return adaptation;
  }

  absl::Status Prepare() {
    for (size_t row = 0; row < manifest_.size(); ++row) Place(manifest_[row].name, row);
    for (const auto& [layer, site] : sites_) {
      if (site.complete()) continue;
      return Refuse(absl::StatusCode::kInvalidArgument,
                    "adapter of layer " + std::to_string(layer) +
                        ": want adapter_down.0 and adapter_up, each with weight and bias");
    }
    return absl::OkStatus();
  }

 private:
  void Place(const std::string& name, int64_t row) {
    const std::optional<int64_t> layer = LayerOf(name);
    if (name.find("adapters.") == std::string::npos || !layer) {
      constexpr std::string_view kPeft = "base_model.model.";
      whole_.emplace_back(name.starts_with(kPeft) ? name.substr(kPeft.size()) : name, row);
      return;
    }
    AdapterSite& site = sites_[*layer];
    if (name.ends_with("adapter_down.0.weight")) site.down_weight = row;
    if (name.ends_with("adapter_down.0.bias")) site.down_bias = row;
    if (name.ends_with("adapter_up.weight")) site.up_weight = row;
    if (name.ends_with("adapter_up.bias")) site.up_bias = row;
  }

  Manifest manifest_;
  Activation activation_;
  std::map<int64_t, AdapterSite> sites_;
  std::vector<std::pair<std::string, int64_t>> whole_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeSeqBn(Manifest manifest, std::string_view activation) {
  const std::optional<Activation> known = ActivationOf(activation);
  if (!known) {
    return Refuse(absl::StatusCode::kInvalidArgument, "adapter.non-linearity: got '" +
                                                          std::string(activation) +
                                                          "', want relu, gelu, swish or tanh");
  }
  auto method = std::make_unique<SeqBn>(std::move(manifest), *known);
  RV_RETURN_IF_ERROR(method->Prepare());
  return method;
}

}  // namespace rivulet
