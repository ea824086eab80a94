#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace rivulet {

// In long double: composing 10^5 releases takes the 10^5-th power of every frequency, and what
// double rounds off would then show in the fifth digit of an epsilon at delta = 1e-7.
struct ComplexNumber {
  long double re = 0, im = 0;
};

inline ComplexNumber operator*(ComplexNumber a, ComplexNumber b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// Discrete Fourier transform of length 2^bits, for convolutions. Forward leaves the spectrum in
// bit-reversed order and Inverse takes it so, which saves both permutations; a convolution does not
// care. Own code and not FFTW: that is under the GPL, and its plans, hence the last bits of an
// epsilon in the ledger, differ between machines. Thread safe.
class FourierTransform {
 public:
  explicit FourierTransform(int bits);  // 1..24
  size_t size() const { return size_; }

  void Forward(std::span<ComplexNumber> values) const;  // values.size() == size()
  void Inverse(std::span<ComplexNumber> values) const;  // divides by size()

  // Where the frequency -k lies when k lies at `position` of the bit-reversed order.
  static size_t Mirror(size_t position);

 private:
  void ForwardPart(ComplexNumber* values, size_t size) const;
  void InversePart(ComplexNumber* values, size_t size) const;
  const ComplexNumber* Roots(size_t size) const { return roots_.data() + size / 2; }

  size_t size_;
  std::vector<ComplexNumber> roots_;  // exp(-2 pi i k / m), k < m/2, at m/2 + k for every m
};

}  // namespace rivulet
