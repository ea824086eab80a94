#include <ATen/ATen.h>

#include <optional>

#include "common/formats/peft_names.h"
#include "peft/zeroth_order/model_points.h"

namespace rivulet {
namespace {

at::Tensor TensorOf(const std::vector<float>& values, int64_t rows) {
  const at::Tensor flat = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
  std::copy(values.begin(), values.end(), flat.data_ptr<float>());
  return flat.view({rows, -1});
}

class FactoredPoints : public ModelPoints {
 public:
  FactoredPoints(const Method& method, const Directions& directions, std::span<const float> values,
                 const ModelConfig& config)
      : method_(method), directions_(directions) {
    const std::vector<LinearModule> modules = LinearModules(config);
    size_t offset = 0;
    for (size_t row = 0; row < method.manifest().size(); ++row) {
      const TensorSpec& spec = method.manifest()[row];
      const auto numbers = values.subspan(offset, static_cast<size_t>(spec.elements()));
      offset += numbers.size();
      const LinearModule* module = nullptr;
      for (const LinearModule& candidate : modules) {
        if (!candidate.head && candidate.path + ".weight" == spec.name) module = &candidate;
      }
      if (module != nullptr) {
        maps_.push_back({row, module->path, {}});
        float* const place = const_cast<float*>(numbers.data());  // never written: no gradients
        leaves_.push_back(at::from_blob(place, spec.shape, at::kFloat));
      } else {
        copies_.push_back({row, numbers});
        leaves_.push_back(at::empty(spec.shape, at::kFloat));
      }
    }
  }

  Adaptation At(std::span<const EvaluationPoint> points) override {
    TORCH_CHECK(points.size() == 1, "directions inside a product: got ", points.size(),
                " points of a pass, want 1");
    const EvaluationPoint& at = points[0];
    for (const Copy& copy : copies_) {
      const std::span<float> to(leaves_[copy.row].data_ptr<float>(), copy.values.size());
      if (at.scale == 0) {
        std::copy(copy.values.begin(), copy.values.end(), to.begin());
      } else {
        directions_.PerturbTensor(at.index, at.scale, copy.row, copy.values, to);
      }
    }
    Adaptation adaptation = method_.Bind(leaves_);
    if (at.scale == 0) return adaptation;
    if (drawn_ != at.index) Draw(at.index);
    for (const Map& map : maps_) {
      if (!map.direction) continue;
      LowRank moved = *map.direction;
      moved.scale *= at.scale;
      adaptation.low_rank[map.module] = moved;
    }
    return adaptation;
  }

 private:
  struct Map {
    size_t row;  // of the manifest
    std::string module;
    std::optional<LowRank> direction;  // z of drawn_; none where it is 0
  };
  struct Copy {
    size_t row;
    std::span<const float> values;
  };

  // Both signs of a direction share its factors.
  void Draw(uint64_t index) {
    for (Map& map : maps_) {
      const auto factors = directions_.FactorsOf(index, map.row);
      map.direction.reset();
      if (!factors) continue;
      const TensorSpec& spec = method_.manifest()[map.row];
      const int64_t rank = static_cast<int64_t>(factors->right.size()) / spec.shape[1];
      map.direction = {TensorOf(factors->right, rank),
                       TensorOf(factors->left, rank).t().contiguous(), factors->scale};
    }
    drawn_ = index;
  }

  const Method& method_;
  const Directions& directions_;
  std::vector<at::Tensor> leaves_;  // by row of the manifest: in place, or where copies go
  std::vector<Map> maps_;
  std::vector<Copy> copies_;
  std::optional<uint64_t> drawn_;
};

}  // namespace

std::unique_ptr<ModelPoints> MakeFactoredPoints(const Method& method, const Directions& directions,
                                                std::span<const float> values,
                                                const ModelConfig& config) {
  return std::make_unique<FactoredPoints>(method, directions, values, config);
}

}  // namespace rivulet
