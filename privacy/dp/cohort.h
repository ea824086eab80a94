#pragma once

#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "privacy/dp/word_source.h"

namespace rivulet {

// Each name with probability q independently, in the order given; may be empty, and an empty cohort
// is a round too: noise is added and the step charged. One word a name: in when word < floor(q
// 2^64), so never with more than q. Amplification may be claimed only while the draw stays secret.
// Errors: InvalidArgument unless 0 < q <= 1.
absl::StatusOr<std::vector<std::string>> DrawPoissonCohort(double q,
                                                           std::span<const std::string> names,
                                                           WordSource& words);

}  // namespace rivulet
