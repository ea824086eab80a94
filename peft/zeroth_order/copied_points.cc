#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "peft/zeroth_order/model_points.h"

namespace rivulet {
namespace {

class CopiedPoints : public ModelPoints {
 public:
  CopiedPoints(const Method& method, const Directions& directions, size_t lanes)
      : method_(method),
        directions_(directions),
        copies_(at::empty({static_cast<int64_t>(lanes), directions.size()}, at::kFloat)) {}

  Adaptation At(const ParameterSet& w, std::span<const EvaluationPoint> points) override {
    float* copy = copies_.data_ptr<float>();
    for (const EvaluationPoint& point : points) {
      for (size_t tensor = 0; tensor < w.size(); ++tensor) {
        const std::span<const float> values = w.floats(tensor);
        if (point.scale == 0) {
          std::copy(values.begin(), values.end(), copy);
        } else {
          directions_.PerturbTensor(point.index, point.scale, tensor, values,
                                    {copy, values.size()});
        }
        copy += values.size();
      }
    }
    return method_.Bind(Leaves(static_cast<int64_t>(points.size())));
  }

 private:
  // Views of the trained tensors, with [lanes] in front if there are several.
  std::vector<at::Tensor> Leaves(int64_t lanes) const {
    std::vector<at::Tensor> leaves;
    int64_t offset = 0;
    for (const TensorSpec& spec : method_.manifest()) {
      std::vector<int64_t> shape = spec.shape;
      const at::Tensor columns = copies_.narrow(0, 0, lanes).narrow(1, offset, spec.elements());
      if (lanes > 1) shape.insert(shape.begin(), lanes);
      leaves.push_back(columns.view(shape));
      offset += spec.elements();
    }
    return leaves;
  }

  const Method& method_;
  const Directions& directions_;
  const at::Tensor copies_;  // [lanes, numbers]
};

}  // namespace

std::unique_ptr<ModelPoints> MakeCopiedPoints(const Method& method, const Directions& directions,
                                              size_t lanes) {
  return std::make_unique<CopiedPoints>(method, directions, lanes);
}

}  // namespace rivulet
