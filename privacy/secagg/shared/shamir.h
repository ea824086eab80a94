#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"
#include "privacy/crypto/entropy.h"
#include "privacy/crypto/secret.h"
#include "privacy/secagg/shared/gf16.h"

// Shamir's sharing of 32-byte secrets over GF(2^16): 16 little-endian elements, each with its own
// polynomial of degree threshold - 1 whose constant term is the element.
namespace rivulet::secagg {

// What one holder gets: the 16 polynomials at x, as long as the secret. x = 0 is the secret itself
// and never a holder.
struct Share {
  uint16_t x = 0;
  Bytes32 value{};

  ~Share();  // wipes the value
};

// Shares for x = 1 .. holders; any `threshold` of them give the secret, fewer give nothing.
// 1 <= threshold <= holders <= 65535: anything else ends the process.
std::vector<Share> Split(const Secret32& secret, size_t holders, size_t threshold,
                         Entropy& entropy);

// As Split with given coefficients: those of degree 1 .. threshold - 1, each 32 bytes (16
// elements). For known answers.
std::vector<Share> SplitWith(const Secret32& secret, size_t holders,
                             std::span<const Secret32> coefficients);

// The secret from the first `threshold` shares. Errors: InvalidArgument (fewer shares than
// `threshold`, threshold 0, x = 0, the same x twice, among all shares given).
absl::StatusOr<Secret32> Combine(std::span<const Share> shares, size_t threshold);

// Lagrange coefficients at 0 of fixed holders, computed once: in a complete graph all secrets have
// the same ones.
class Reconstructor {
 public:
  // Errors: InvalidArgument (none, x = 0, the same x twice).
  static absl::StatusOr<Reconstructor> Make(std::vector<uint16_t> xs);

  const std::vector<uint16_t>& xs() const { return xs_; }
  // Shares of exactly xs(), in that order. InvalidArgument otherwise.
  absl::StatusOr<Secret32> Combine(std::span<const Share> shares) const;

 private:
  Reconstructor() = default;
  std::vector<uint16_t> xs_;
  std::vector<uint16_t> coefficients_;
};

struct Corrected {
  Secret32 secret;
  std::vector<uint16_t> faulty_x;  // holders whose share is wrong, ascending
};

// The secret from m shares of which at most floor((m - threshold) / 2) are wrong, and which ones
// are. Berlekamp-Welch over the 16 elements with one error locator, in the form of syndromes.
// Errors: InvalidArgument as Combine; DataLoss when more are wrong than can be corrected (found
// whenever no polynomial agrees with enough shares).
absl::StatusOr<Corrected> CombineWithErrors(std::span<const Share> shares, size_t threshold);

}  // namespace rivulet::secagg
