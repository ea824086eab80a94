#include "privacy/dp/fourier.h"

#include <gtest/gtest.h>

#include <cmath>

namespace rivulet {
namespace {

std::vector<ComplexNumber> SomeNumbers(size_t size) {
  std::vector<ComplexNumber> values;
  uint32_t state = 7;
  const auto next = [&] { return (state = state * 1664525 + 1013904223) / 4294967296.0L - 0.5; };
  for (size_t at = 0; at < size; ++at) values.push_back({next(), next()});
  return values;
}

size_t Reversed(size_t value, int bits) {
  size_t result = 0;
  for (int bit = 0; bit < bits; ++bit) result |= (value >> bit & 1) << (bits - 1 - bit);
  return result;
}

TEST(Fourier, IsTheDefinitionInBitReversedOrder) {
  for (int bits = 1; bits <= 7; ++bits) {
    const FourierTransform transform(bits);
    const std::vector<ComplexNumber> values = SomeNumbers(transform.size());
    std::vector<ComplexNumber> spectrum = values;
    transform.Forward(spectrum);
    for (size_t k = 0; k < values.size(); ++k) {
      ComplexNumber want;
      for (size_t n = 0; n < values.size(); ++n) {
        const long double angle =
            -2 * M_PIl * static_cast<long double>(n * k) / static_cast<long double>(values.size());
        const ComplexNumber term = values[n] * ComplexNumber{cosl(angle), sinl(angle)};
        want = {want.re + term.re, want.im + term.im};
      }
      EXPECT_LT(std::abs(spectrum[Reversed(k, bits)].re - want.re), 1e-16L);
      EXPECT_LT(std::abs(spectrum[Reversed(k, bits)].im - want.im), 1e-16L);
      const size_t mirror = Reversed((values.size() - k) % values.size(), bits);
      EXPECT_EQ(FourierTransform::Mirror(Reversed(k, bits)), mirror);
    }
  }
}

TEST(Fourier, TheInverseUndoesIt) {
  const FourierTransform transform(14);
  const std::vector<ComplexNumber> values = SomeNumbers(transform.size());
  std::vector<ComplexNumber> back = values;
  transform.Forward(back);
  transform.Inverse(back);
  for (size_t at = 0; at < values.size(); ++at) {
    EXPECT_LT(std::abs(back[at].re - values[at].re), 1e-17L);
    EXPECT_LT(std::abs(back[at].im - values[at].im), 1e-17L);
  }
}

}  // namespace
}  // namespace rivulet
