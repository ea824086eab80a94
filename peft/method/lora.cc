#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <vector>

#include "peft/method/method.h"

namespace rivulet {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kA = ".lora_A.weight", kB = ".lora_B.weight";

std::string_view WithoutPrefix(std::string_view name) {
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  return name;
}

struct Site {
  std::string module;
  int64_t a = -1, b = -1;  // rows of the manifest; a = -1: fixed
  at::Tensor fixed_a;
  double scale = 1;
};

class Lora : public Method {
 public:
  Lora(Manifest manifest, double dropout) : manifest_(std::move(manifest)), dropout_(dropout) {}

  std::string_view name() const override { return "lora"; }
  const Manifest& manifest() const override { return manifest_; }

  Adaptation Bind(std::span<const at::Tensor> tensors) const override {
    Adaptation adaptation;
    for (size_t i = 0; i < sites_.size(); ++i) {
      const Site& site = sites_[i];
      adaptation.low_rank[site.module] = {site.a < 0 ? site.fixed_a : tensors[site.a],
                                          tensors[site.b], site.scale, dropout_,
                                          static_cast<uint32_t>(i)};
    }
    for (const auto& [tensor, row] : whole_) adaptation.replaced[tensor] = tensors[row];
    return adaptation;
  }

  absl::Status Prepare(const LoraSettings& settings) {
    std::map<std::string, Site> by_module;
    for (size_t row = 0; row < manifest_.size(); ++row) {
      const std::string_view name = WithoutPrefix(manifest_[row].name);
      if (name.ends_with(kA)) {
        by_module[std::string(name.substr(0, name.size() - kA.size()))].a = row;
      } else if (name.ends_with(kB)) {
        by_module[std::string(name.substr(0, name.size() - kB.size()))].b = row;
      } else {
        whole_.emplace_back(name, row);
      }
    }
    for (auto& [module, site] : by_module) {
      site.module = module;
      RV_RETURN_IF_ERROR(Complete(settings, site));
      sites_.push_back(std::move(site));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Complete(const LoraSettings& settings, Site& site) {
    if (site.a < 0) RV_RETURN_IF_ERROR(TakeFixed(settings, site));
    if (site.b < 0) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    site.module + ": got lora_A without lora_B, want both");
    }
    const auto& b = manifest_[site.b].shape;
    const std::vector<int64_t> a =
        site.a < 0 ? site.fixed_a.sizes().vec() : manifest_[site.a].shape;
    if (a.size() != 2 || b.size() != 2 || a[0] != b[1] || a[0] < 1) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    site.module + ": shapes of lora_A and lora_B do not share a rank: " +
                        Describe(manifest_[site.b]));
    }
    const double rank = static_cast<double>(a[0]);
    site.scale = settings.alpha / (settings.use_rslora ? std::sqrt(rank) : rank);
    return absl::OkStatus();
  }

  static absl::Status TakeFixed(const LoraSettings& settings, Site& site) {
    const std::string name = std::string(kPrefix) + site.module + std::string(kA);
    const int64_t row = settings.fixed.IndexOf(name);
    if (row < 0) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    name + ": neither trained nor fixed, want one");
    }
    const std::span<const float> values = settings.fixed.floats(row);
    site.fixed_a = at::empty(settings.fixed.manifest()[row].shape, at::kFloat);
    std::copy(values.begin(), values.end(), site.fixed_a.data_ptr<float>());
    return absl::OkStatus();
  }

  Manifest manifest_;
  double dropout_;
  std::vector<Site> sites_;                             // sorted by module
  std::vector<std::pair<std::string, int64_t>> whole_;  // tensor, row
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakeLora(Manifest manifest, LoraSettings settings) {
  auto lora = std::make_unique<Lora>(std::move(manifest), settings.dropout);
  RV_RETURN_IF_ERROR(lora->Prepare(settings));
  return lora;
}

}  // namespace rivulet
