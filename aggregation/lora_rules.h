#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "aggregation/fixed_point_sum.h"
#include "common/status.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// How the two factors of y = W x + s B A x become one global pair (`strategy.aggregation`).
//   factor-average  A and B are averaged each (FedIT, arXiv 2305.05644). Biased, because the
//                   product of means is not the mean of products; FactorBias says by how much.
//   freeze-a        A stays at its shared initial value, B is averaged (FFA-LoRA, arXiv
//                   2403.12313). Exact, and half the bytes; AdapterPlan::wire() leaves A out.

// One LoRA module: A [r, n] and B [m, r], F32.
struct LoraPair {
  std::string module;  // the name without ".lora_A.weight"
  size_t a = 0;        // positions in the manifest
  size_t b = 0;
};
// Every pair of a manifest, in order. Errors: InvalidArgument naming a factor without its partner,
// or a pair whose ranks differ.
absl::StatusOr<std::vector<LoraPair>> LoraPairsOf(const Manifest& manifest);

struct ModuleBias {
  std::string module;
  double bias = 0;
};
struct FactorBiasReport {
  double total = 0;  // over all modules together
  std::vector<ModuleBias> modules;
};

// The bias of factor averaging, b = |B'A' - sum p_k B_k A_k|_F / |sum p_k B_k A_k|_F, where B', A'
// are the weighted means of the clients' factors B_k = B + dB_k, A_k = A + dA_k (`global` plus
// their updates) and p_k = w_k / sum w. 0 when nothing is lost, infinity when the exact mean is 0
// and its replacement is not. The scale s cancels.
//
// No m x n product is built: |sum_i c_i X_i Y_i|^2 = sum_ij c_i c_j tr((X_i^T X_j)(Y_j Y_i^T))
// needs r x r matrices alone, and the numerator is sum p_k (B_k - B')(A_k - A'), which does not
// cancel. Time K^2 r (m + n) r for K updates of a module, memory 2 K r (m + n) doubles. Needs
// individual updates, so it exists without masking only. Errors: InvalidArgument for a shape or
// manifest that does not fit; FailedPrecondition when there is no update or no LoRA pair. Source:
// docs of the method in arXiv 2410.09432, section 3; the identity is elementary.
absl::StatusOr<FactorBiasReport> FactorBias(const ParameterSet& global,
                                            std::span<const WeightedUpdate> updates);

}  // namespace rivulet
