#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "aggregation/codec/stage.h"
#include "common/random.h"
#include "common/status.h"
#include "common/tensor/parameter_set.h"

namespace rivulet {

// Random words that all parties know, addressed by position: word w holds bits 32 w .. 32 w + 31 of
// the stream, least significant first. The masking protocol provides a keystream for rotations
// (rvl1/rot), everybody else Philox. Const methods are safe from many threads.
class PublicWords {
 public:
  virtual ~PublicWords() = default;
  virtual void Fill(uint64_t first, std::span<uint32_t> words) const = 0;
};

// One tensor of an addressed stream (docs/formats/randomness.md): word w is block(w / 4)[w % 4].
class PhiloxWords : public PublicWords {
 public:
  explicit PhiloxWords(RandomStream stream, uint32_t tensor = 0)
      : stream_(stream), tensor_(tensor) {}
  void Fill(uint64_t first, std::span<uint32_t> words) const override;

 private:
  RandomStream stream_;
  uint32_t tensor_;
};

// All F32 tensors of `set` one after the other. Copies only when they do not lie so already.
// FlatNumbers is the length. Errors of CheckF32: InvalidArgument naming the first other tensor.
absl::Status CheckF32(const Manifest& manifest);
size_t FlatNumbers(const Manifest& manifest);
std::span<const float> Flatten(const ParameterSet& set, std::vector<float>& storage);
void Unflatten(std::span<const float> flat, ParameterSet& set);

// One index out of each of `k` strata of [0, d), ascending: index_j = j g + bounded(g), g = d / k;
// the last stratum takes the remainder. Draws words one after the other from word 0 on.
// 1 <= k <= d < 2^32, or k = 0.
std::vector<uint32_t> StratifiedIndices(const PublicWords& words, size_t d, size_t k);

// The size of the stratum of each of these indices: d / k, larger only for the last.
size_t StratumSize(size_t d, size_t k, size_t stratum);

// Strata for a wanted fraction: g = round(1 / fraction) but at most d, k = d / g. The remainder is
// then smaller than one stratum. 0 for d = 0.
size_t StrataFor(size_t d, double fraction);

// Indices of the `k` largest magnitudes, ascending; of equal ones the first. No NaN.
std::vector<uint32_t> LargestIndices(std::span<const float> values, size_t k);

// Support of the public top-k: nine tenths of `k` are the largest of `previous`, the others one of
// each stratum of what is left, so that no coordinate is frozen. All of it strata when `previous`
// is empty. Ascending. k <= d < 2^32; previous has d numbers or none.
std::vector<uint32_t> PublicSupport(std::span<const float> previous, size_t d, size_t k,
                                    const PublicWords& words);

// out = in.
std::unique_ptr<LinearStage> NewIdentity();

// Block rotation of secure_aggregation 8.1: blocks of R = 2^block_log2 numbers, m = ceil(d / R) of
// them, element j in block j mod m at position j / m, zero padding up to m R; sign flips (bit
// i = block R + position of `signs`, 1 is minus); orthonormal Walsh-Hadamard transform. Output m R,
// block after block. Errors: InvalidArgument when block_log2 is not in 0 .. 24.
absl::StatusOr<std::unique_ptr<LinearStage>> NewRotation(int block_log2,
                                                         std::shared_ptr<const PublicWords> signs);

// Keeps the numbers of a given support (ascending indices below d, d fixed). Project takes them as
// they are; Expand puts them back times `factors` (one for each, or none for 1), zeros elsewhere.
std::unique_ptr<LinearStage> NewSubset(size_t d, std::vector<uint32_t> support,
                                       std::vector<float> factors);

// Subset of one number of each of `k` strata. `scaled`: Expand multiplies with the size of the
// stratum (d / k), which makes it unbiased; without, for error feedback.
std::unique_ptr<LinearStage> NewRandomK(size_t d, size_t k, const PublicWords& words, bool scaled);

// Subset of PublicSupport.
std::unique_ptr<LinearStage> NewPublicTopK(size_t d, size_t k, std::span<const float> previous,
                                           const PublicWords& words);

// Count sketch: table [rows, columns], row-major; element i adds sign_r(i) x_i to column h_r(i) of
// every row r; Expand is the median over the rows of sign_r(i) table[r, h_r(i)]. Expand of a sum is
// not the sum of Expands (median), the tables do add. Hashes: the upper half of a 64-bit a i + b,
// with a, b from words of purpose 8 under `root`, round `index`: pairwise independent.
// rows odd, 1 .. 15; columns 1 .. 2^31. Source: Charikar, Chen, Farach-Colton 2002.
std::unique_ptr<LinearStage> NewCountSketch(uint32_t rows, uint32_t columns, uint64_t root,
                                            uint64_t index);

// A tensor of shape [m, ...] is a matrix M of m rows and n columns; those that rank * (m + n)
// numbers do not make smaller travel as they are. P = M Q for each matrix, Q [n, rank] public with
// orthonormal columns (Gaussian of purpose 8 under `root`, round `index`, tensor t), then the
// numbers of the other tensors. Expand: P Q^T, the projection of M on the space of Q.
std::unique_ptr<LinearStage> NewLowRankLeft(const Manifest& manifest, uint32_t rank, uint64_t root,
                                            uint64_t index);

// PowerSGD over two sums, which may be of different clients. Matrices, rank and Q as above; P^ is
// the mean of the first pass with orthonormal columns (modified Gram-Schmidt, twice, in binary64,
// in one fixed order; columns that depend on earlier ones become zero). Source: Vogels et al. 2019
// (arXiv 1905.13727), whose M^T P^ is cut in two here: its part in the space of Q follows from the
// first pass, so that the second sums nothing that the first has summed. Else the two sums of a
// client that is in one of them alone would say something of its update.
//
// First pass: P = M Q of the matrices. Expand: zeros, since nothing has moved yet.
std::unique_ptr<LinearStage> NewPowerSgdFirst(const Manifest& manifest, uint32_t rank,
                                              uint64_t root, uint64_t index);
// Second pass: R = (1 - Q Q^T) M^T P^ [n, rank] of the matrices, and the other tensors as they are.
// Expand: P^ R^T, and these. `first_mean`: of the first pass's output. Errors: InvalidArgument when
// it has the wrong length or a number that is not finite.
absl::StatusOr<std::unique_ptr<LinearStage>> NewPowerSgdSecond(const Manifest& manifest,
                                                               uint32_t rank, uint64_t root,
                                                               uint64_t index,
                                                               std::span<const float> first_mean);
// The rest of P^ P^^T M, flat: P^ P^^T `first` Q^T, where `first` is what the first pass has of M;
// zeros in tensors that are no matrices. Errors: those of NewPowerSgdSecond, for either.
absl::StatusOr<std::vector<float>> PowerSgdFirstPart(const Manifest& manifest, uint32_t rank,
                                                     uint64_t root, uint64_t index,
                                                     std::span<const float> first_mean,
                                                     std::span<const float> first);

// data [2^log2] <- H data, H the unnormalised Walsh-Hadamard matrix: twice is 2^log2 times the
// input. Same bits on every machine. Aborts when the size is not a power of two.
void WalshHadamard(std::span<float> data);
void WalshHadamard(std::span<double> data);

}  // namespace rivulet
