#pragma once

#include <functional>
#include <span>
#include <vector>

#include "aggregation/codec/rounding.h"
#include "common/tensor/parameter_set.h"
#include "privacy/crypto/entropy.h"
#include "privacy/masking/masked_form.h"
#include "privacy/secagg/shared/ring.h"

namespace rivulet {

// Stochastic rounding with the client's own secret words.
class EntropyRounding : public RoundingSource {
 public:
  explicit EntropyRounding(Entropy& entropy) : entropy_(entropy) {}
  void Fill(std::span<uint32_t> words) override {
    entropy_.Fill({reinterpret_cast<uint8_t*>(words.data()), words.size_bytes()});
  }

 private:
  Entropy& entropy_;
};

struct EncodedUpdate {
  secagg::RingVector vector;  // params.length() elements, the checksums zero
  size_t clamped = 0;         // coordinates beyond the lattice; more than 1 in 10^5 is worth a word
  double norm = 0;            // L2, before it was scaled down to the range
};

// One client's vector of one attempt. `rounding` rounds where there is no noise, else `entropy`
// does and draws the client's share of it. `residual`: error feedback, of the update's manifest or
// null: added before the reduction, and holds afterwards what the vector does not carry. Errors:
// InvalidArgument naming the first value that is NaN or infinite, or no vote where form.votes().
absl::StatusOr<EncodedUpdate> EncodeUpdate(const MaskedForm& form, const MaskedForm::Maps& maps,
                                           const secagg::Params& params, const ParameterSet& delta,
                                           uint32_t weight, const MaskedFigures& figures,
                                           Entropy& entropy, RoundingSource& rounding,
                                           ParameterSet* residual);

// What the coordinator does to the integers of a sum under central noise.
struct CentralAddition {
  std::function<absl::Status(std::span<int64_t>)> add;
  int64_t divisor = 0;  // of the sum, whoever came
};

struct DecodedSum {
  ParameterSet mean;           // weighted by the clients' integer weights
  std::vector<float> reduced;  // the same before the outermost map
  int64_t weight = 0;          // their sum
  MaskedFigures figures;       // sums
  int64_t clip_bits = 0;       // of adaptive clipping, with the clients' noise and no other
};

// What the unmasked sum over `clients` clients says. `central`: where form.central(). Errors:
// InvalidArgument for a sum of weights that no such set can have, and without its noise; those of
// the addition.
absl::StatusOr<DecodedSum> DecodeSum(const MaskedForm& form, const MaskedForm::Maps& maps,
                                     const secagg::Params& params, const secagg::RingVector& sum,
                                     uint32_t clients, const CentralAddition& central = {});

}  // namespace rivulet
