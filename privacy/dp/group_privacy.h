#pragma once

#include <cstdint>

#include "privacy/dp/rdp.h"

namespace rivulet {

// Epsilon of groups of `members` >= 1 units from the curve of one unit, at the group's delta: with
// d the unit's delta that solves d (e^(g eps(d)) - 1)/(e^(eps(d)) - 1) = delta, the answer is g
// eps(d). Much looser than accounting with the group's own sensitivity (GaussianMixture::Group, or
// sigma / g without sampling); for checking foreign statements.
double GroupLemmaEpsilon(const RdpCurve& unit, int64_t members, double delta);

}  // namespace rivulet
