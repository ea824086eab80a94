#pragma once

#include "common/direction/direction.h"

namespace rivulet {

// The directions of all steps of one run over all tensors of a manifest, whose numbers lie in flat
// buffers [size()], one tensor after the other. Query q of step s has the index s * queries + q:
// who knows root, settings and step can draw it again. Immutable; safe from many threads.
class StepDirections {
 public:
  // queries >= 1.
  StepDirections(const DirectionSettings& settings, uint64_t root, int queries,
                 const Manifest& manifest);

  int queries() const { return queries_; }
  int64_t size() const { return size_; }

  // out = base + scale * z, rounded once; out may be base.
  void Perturb(uint64_t step, int query, float scale, std::span<const float> base,
               std::span<float> out) const;
  // Sum of gradient * z: the slope along z that a difference of two losses estimates.
  double Dot(uint64_t step, int query, std::span<const float> gradient) const;
  // values += factors[q] * z_q for q = 0, 1, ..., each rounded once. At most `queries` factors.
  void Move(uint64_t step, std::span<const float> factors, std::span<float> values) const;

 private:
  // Gives `body` part, offset and number of elements of each tensor.
  template <typename Body>
  void ForTensors(Body body) const;

  DirectionSettings settings_;
  uint64_t root_;
  int queries_;
  std::vector<TensorPart> parts_;
  int64_t size_ = 0;
};

}  // namespace rivulet
