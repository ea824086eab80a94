#include <ATen/ATen.h>

#include <vector>

#include "peft/method/method.h"

namespace rivulet {
namespace {

constexpr std::string_view kWrapper = "base_model.";  // before the names of tensors trained whole

at::Tensor TensorOf(std::span<const float> values, at::IntArrayRef shape) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  std::copy(values.begin(), values.end(), tensor.data_ptr<float>());
  return tensor;
}

class Prompt : public Method {
 public:
  explicit Prompt(Manifest manifest) : manifest_(std::move(manifest)) {}

  std::string_view name() const override { return "prompt"; }
  const Manifest& manifest() const override { return manifest_; }

  Adaptation Bind(std::span<const at::Tensor> tensors) const override {
    Adaptation adaptation;
    adaptation.prompt = PromptVectors{tensors[row_], start_, projection_};
    for (const auto& [tensor, row] : whole_) adaptation.replaced[tensor] = tensors[row];
    return adaptation;
  }

  absl::Status Prepare(const PromptStart& start, uint64_t seed) {
    for (size_t row = 0; row < manifest_.size(); ++row) {
      const std::string& name = manifest_[row].name;
      if (name == kPromptKey || name == kSubspaceKey) {
        row_ = static_cast<int64_t>(row);
      } else {
        whole_.emplace_back(name.starts_with(kWrapper) ? name.substr(kWrapper.size()) : name, row);
      }
    }
    if (row_ < 0) {
      return Refuse(
          absl::StatusCode::kInvalidArgument,
          std::string("prompt: got neither ") + kPromptKey + " nor " + kSubspaceKey + ", want one");
    }
    if (manifest_[row_].name == kPromptKey) return absl::OkStatus();
    if (start.values.empty() || start.hidden < 1) {
      return Refuse(absl::StatusCode::kInvalidArgument,
                    std::string(kSubspaceKey) + ": got no prompt that it starts from, want one");
    }
    const int64_t subspace = manifest_[row_].elements();
    const auto numbers = static_cast<int64_t>(start.values.size());
    start_ = TensorOf(start.values, {numbers / start.hidden, start.hidden});
    projection_ = TensorOf(PromptProjection(seed, start.values, subspace), {numbers, subspace});
    return absl::OkStatus();
  }

 private:
  Manifest manifest_;
  int64_t row_ = -1;               // of the prompt, or of its subspace
  at::Tensor start_, projection_;  // of a subspace: [tokens, hidden], [tokens * hidden, n]
  std::vector<std::pair<std::string, int64_t>> whole_;  // tensor, row
};

}  // namespace

absl::StatusOr<std::unique_ptr<Method>> MakePrompt(Manifest manifest, const PromptStart& start,
                                                   uint64_t seed) {
  auto prompt = std::make_unique<Prompt>(std::move(manifest));
  RV_RETURN_IF_ERROR(prompt->Prepare(start, seed));
  return prompt;
}

}  // namespace rivulet
