#include "privacy/dp/fourier.h"

#include <gtest/gtest.h>

#include <cmath>

namespace rivulet {
namespace {

std::vector<ComplexNumber> SomeNumbers(size_t size) {
  std::vector<ComplexNumber> values;
  uint32_t state = 7;
  const auto next = [&] { return (state = state * 1664525 + 1013904223) / 4294967296.0 - 0.5; };
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
        const double angle =
            -2 * M_PI * static_cast<double>(n * k) / static_cast<double>(values.size());
        const ComplexNumber term = values[n] * ComplexNumber{std::cos(angle), std::sin(angle)};
        want = {want.re + term.re, want.im + term.im};
      }
      EXPECT_NEAR(spectrum[Reversed(k, bits)].re, want.re, 1e-12);
      EXPECT_NEAR(spectrum[Reversed(k, bits)].im, want.im, 1e-12);
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
    EXPECT_NEAR(back[at].re, values[at].re, 1e-14);
    EXPECT_NEAR(back[at].im, values[at].im, 1e-14);
  }
}

}  // namespace
}  // namespace rivulet
