#include <ATen/ATen.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/formats/peft_names.h"
#include "peft/trainer/trainable_state.h"
#include "peft/zeroth_order/model_points.h"

namespace rivulet {
namespace {

at::Tensor TensorOf(const std::vector<float>& values, int64_t rows) {
  const at::Tensor flat = at::empty({static_cast<int64_t>(values.size())}, at::kFloat);
  std::copy(values.begin(), values.end(), flat.data_ptr<float>());
  return flat.view({rows, -1});
}

class WholePoints : public ModelPoints {
 public:
  // `inside`: of the linear maps that directions go beside; null: of none.
  WholePoints(const Method& method, const Directions& directions, const ModelConfig* inside)
      : method_(method), directions_(directions) {
    std::vector<LinearModule> modules;
    if (inside != nullptr) modules = LinearModules(*inside);
    for (size_t row = 0; row < method.manifest().size(); ++row) {
      const std::string& name = method.manifest()[row].name;
      const LinearModule* module = nullptr;
      for (const LinearModule& candidate : modules) {
        if (!candidate.head && candidate.path + ".weight" == name) module = &candidate;
      }
      if (module != nullptr) {
        maps_.push_back({row, module->path, {}});
      } else if (directions.Moves(row)) {
        drawn_.emplace(name, row);
      }
    }
  }

  Adaptation At(const ParameterSet& w, std::span<const EvaluationPoint> points) override {
    TORCH_CHECK(points.size() == 1, "whole models: got ", points.size(),
                " points of a pass, want 1");
    const EvaluationPoint at = points[0];
    Adaptation adaptation = method_.Bind(TensorsIn(w));
    if (at.scale == 0) return adaptation;
    adaptation.moved = [this, at](std::string_view name, const at::Tensor& still) {
      return Moved(at, name, still);
    };
    if (factors_of_ != at.index) DrawFactors(at.index);
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
    std::optional<LowRank> direction;  // z of factors_of_; none where it is 0
  };

  at::Tensor Moved(const EvaluationPoint& at, std::string_view name, const at::Tensor& still) {
    const auto drawn = drawn_.find(name);
    if (drawn == drawn_.end()) return still;
    const at::Tensor moved = Room(still.numel()).view(still.sizes());
    const auto count = static_cast<size_t>(still.numel());
    directions_.PerturbTensor(at.index, at.scale, drawn->second, {still.data_ptr<float>(), count},
                              {moved.data_ptr<float>(), count});
    return moved;
  }

  // One that no layer reads any more, which is still in the cache, or a new one.
  at::Tensor Room(int64_t count) {
    for (const at::Tensor& room : rooms_) {
      if (room.numel() == count && room.storage().use_count() == 1) return room;
    }
    return rooms_.emplace_back(at::empty({count}, at::kFloat));
  }

  // Both signs of a direction share its factors.
  void DrawFactors(uint64_t index) {
    for (Map& map : maps_) {
      const auto factors = directions_.FactorsOf(index, map.row);
      map.direction.reset();
      if (!factors) continue;
      const TensorSpec& spec = method_.manifest()[map.row];
      const int64_t rank = static_cast<int64_t>(factors->right.size()) / spec.shape[1];
      map.direction = {TensorOf(factors->right, rank),
                       TensorOf(factors->left, rank).t().contiguous(), factors->scale};
    }
    factors_of_ = index;
  }

  const Method& method_;
  const Directions& directions_;
  std::vector<Map> maps_;
  std::map<std::string, size_t, std::less<>> drawn_;  // the other tensors that move: their rows
  std::vector<at::Tensor> rooms_;                     // flat
  std::optional<uint64_t> factors_of_;
};

}  // namespace

std::unique_ptr<ModelPoints> MakeDrawnPoints(const Method& method, const Directions& directions) {
  return std::make_unique<WholePoints>(method, directions, nullptr);
}

std::unique_ptr<ModelPoints> MakeFactoredPoints(const Method& method, const Directions& directions,
                                                const ModelConfig& config) {
  return std::make_unique<WholePoints>(method, directions, &config);
}

}  // namespace rivulet
