#pragma once

#include "common/tensor/parameter_set.h"

namespace rivulet {

// |a - b|_2 over all tensors, in binary64 and in order; `b` null: |a|_2. Manifests equal.
double DistanceOf(const ParameterSet& a, const ParameterSet* b);

// Every number times `factor`, rounded to binary32 once.
void Scale(double factor, ParameterSet& update);

}  // namespace rivulet
