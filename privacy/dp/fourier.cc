#include "privacy/dp/fourier.h"

#include <bit>
#include <cmath>
#include <cstdlib>

namespace rivulet {

FourierTransform::FourierTransform(int bits) : size_(size_t{1} << bits), roots_(size_) {
  for (size_t half = size_ / 2, stride = 1; half >= 1; half /= 2, stride *= 2) {
    for (size_t k = 0; k < half; ++k) {
      if (stride > 1) {
        roots_[half + k] = roots_[half * 2 + k * 2];
        continue;
      }
      const long double angle =
          -M_PIl * static_cast<long double>(k) / static_cast<long double>(half);
      roots_[half + k] = {cosl(angle), sinl(angle)};
    }
  }
}

// Depth first: below some size a part stays in the cache until it is done.
void FourierTransform::ForwardPart(ComplexNumber* values, size_t size) const {
  if (size == 1) return;
  const size_t half = size / 2;
  const ComplexNumber* roots = Roots(size);
  for (size_t k = 0; k < half; ++k) {
    const ComplexNumber a = values[k], b = values[half + k];
    values[k] = {a.re + b.re, a.im + b.im};
    values[half + k] = ComplexNumber{a.re - b.re, a.im - b.im} * roots[k];
  }
  ForwardPart(values, half);
  ForwardPart(values + half, half);
}

void FourierTransform::InversePart(ComplexNumber* values, size_t size) const {
  if (size == 1) return;
  const size_t half = size / 2;
  InversePart(values, half);
  InversePart(values + half, half);
  const ComplexNumber* roots = Roots(size);
  for (size_t k = 0; k < half; ++k) {
    const ComplexNumber a = values[k];
    const ComplexNumber b = values[half + k] * ComplexNumber{roots[k].re, -roots[k].im};
    values[k] = {a.re + b.re, a.im + b.im};
    values[half + k] = {a.re - b.re, a.im - b.im};
  }
}

void FourierTransform::Forward(std::span<ComplexNumber> values) const {
  if (values.size() != size_) std::abort();
  ForwardPart(values.data(), size_);
}

void FourierTransform::Inverse(std::span<ComplexNumber> values) const {
  if (values.size() != size_) std::abort();
  InversePart(values.data(), size_);
  const long double scale = 1 / static_cast<long double>(size_);
  for (ComplexNumber& value : values) value = {value.re * scale, value.im * scale};
}

size_t FourierTransform::Mirror(size_t position) {
  return position < 2 ? position : position ^ (std::bit_floor(position) - 1);
}

}  // namespace rivulet
