#pragma once

#include <cstdint>
#include <span>

#include "privacy/masking/masked_form.h"

namespace rivulet {

// The two sums of codec power-sgd say different things of an update (aggregation/codec/linear.h).
// `mean`: of the first, `round`: of the second, of whose form are manifests here.

// The client's side, before the second: `update` without what the first sum has moved the model by
// for it. Errors: InvalidArgument for a mean of another length, or not finite.
absl::Status TakeOutFirstPass(const MaskedForm& form, uint64_t round, std::span<const float> mean,
                              ParameterSet& update);
// The coordinator's side, after the second: that part of all of them. Errors: the same.
absl::Status AddFirstPass(const MaskedForm& form, uint64_t round, std::span<const float> mean,
                          ParameterSet& second_mean);

}  // namespace rivulet
