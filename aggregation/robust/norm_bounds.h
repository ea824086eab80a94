#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <string_view>

namespace rivulet {

// The factors of LoRA have scales of their own, so each can have a bound of its own: an update
// falls into the parts A, B and the rest; factors without a bound belong to the rest.
struct NormBounds {
  enum Part : size_t { kRest, kFactorA, kFactorB };
  static constexpr size_t kParts = 3;

  std::array<double, kParts> bounds{};  // L2 norms; 0 = none

  NormBounds(double clip, double clip_a, double clip_b) : bounds{clip, clip_a, clip_b} {}

  bool any() const { return bounds[kRest] > 0 || bounds[kFactorA] > 0 || bounds[kFactorB] > 0; }
  Part PartOf(std::string_view tensor) const {
    if (bounds[kFactorA] > 0 && tensor.ends_with(".lora_A.weight")) return kFactorA;
    if (bounds[kFactorB] > 0 && tensor.ends_with(".lora_B.weight")) return kFactorB;
    return kRest;
  }
  // What scales a part of that norm into its bound: at most 1.
  double FactorOf(size_t part, double squared_norm) const {
    const double norm = std::sqrt(squared_norm);
    return bounds[part] > 0 && norm > bounds[part] ? bounds[part] / norm : 1.0;
  }
};

}  // namespace rivulet
