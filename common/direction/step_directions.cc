#include "common/direction/step_directions.h"

namespace rivulet {

StepDirections::StepDirections(const DirectionSettings& settings, uint64_t root, int queries,
                               const Manifest& manifest)
    : settings_(settings), root_(root), queries_(queries), parts_(PartsOf(manifest)) {
  for (const TensorPart& part : parts_) size_ += part.elements();
}

template <typename Body>
void StepDirections::ForTensors(Body body) const {
  size_t offset = 0;
  for (const TensorPart& part : parts_) {
    const size_t count = static_cast<size_t>(part.elements());
    body(part, offset, count);
    offset += count;
  }
}

void StepDirections::Perturb(uint64_t step, int query, float scale, std::span<const float> base,
                             std::span<float> out) const {
  const auto z = MakeDirection(settings_, root_, step * queries_ + query);
  ForTensors([&](const TensorPart& part, size_t offset, size_t count) {
    AddDirection(*z, part, scale, base.subspan(offset, count), out.subspan(offset, count));
  });
}

double StepDirections::Dot(uint64_t step, int query, std::span<const float> gradient) const {
  const auto z = MakeDirection(settings_, root_, step * queries_ + query);
  double sum = 0;
  ForTensors([&](const TensorPart& part, size_t offset, size_t count) {
    sum += DotDirection(*z, part, gradient.subspan(offset, count));
  });
  return sum;
}

void StepDirections::Move(uint64_t step, std::span<const float> factors,
                          std::span<float> values) const {
  for (size_t query = 0; query < factors.size(); ++query) {
    Perturb(step, static_cast<int>(query), factors[query], values, values);
  }
}

}  // namespace rivulet
