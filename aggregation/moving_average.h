#pragma once

#include "common/tensor/parameter_set.h"

namespace rivulet {

// An exponential moving average of the global states (evaluate.ema), of which held-out figures are
// in their place. It begins as the state of round 0, and nothing is trained from it.
//
// Source: Feng et al. 2023, BAFFLE.
struct MovingAverage {
  double keep = 0;  // the share of itself that it keeps, 0 < keep < 1
  ParameterSet values;

  // After a movement of the global state to `state`, of the same manifest: values + (1 - keep)
  // (state - values) in binary32, each number by one fused multiply-add.
  void Follow(const ParameterSet& state);
};

}  // namespace rivulet
