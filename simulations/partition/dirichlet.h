#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/random.h"

namespace rivulet {

// Draws from the Dirichlet distribution with density proportional to prod x_k^(concentration_k -
// 1).
//   concentration  each > 0; may be tiny: the draw is made in logarithms, so it never becomes 0/0.
// Returns shares that sum to 1. Source: Marsaglia and Tsang 2000 for the gamma variates.
std::vector<double> DrawDirichlet(std::span<const double> concentration, RandomCursor& cursor);

// Splits items among clients with unequal classes.
//   class_of     class of each item, 0..classes-1
// Every client gets floor or ceil of items/clients items. Client i draws its class shares from
// Dir(alpha p), p the shares of the classes over all items; then the clients take turns, each
// drawing a class by its shares and a random item of that class. A class that has run out is drawn
// no more. Returns item numbers by client, in the order drawn; each item is in exactly one client.
// Source: Hsu, Qi, Brown 2019, "Measuring the Effects of Non-Identical Data Distribution".
std::vector<std::vector<uint32_t>> SplitByDirichlet(std::span<const uint32_t> class_of,
                                                    uint32_t classes, uint32_t clients,
                                                    double alpha, RandomCursor& cursor);

}  // namespace rivulet
