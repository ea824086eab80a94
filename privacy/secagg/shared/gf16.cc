#include "privacy/secagg/shared/gf16.h"

namespace rivulet::secagg::gf16 {
namespace {

constexpr uint16_t kLow = static_cast<uint16_t>(kPolynomial);  // x^16 in terms of lower powers

// All ones when the lowest bit is set.
constexpr uint16_t MaskOf(uint32_t bit) { return static_cast<uint16_t>(-(bit & 1)); }

}  // namespace

uint16_t Mul(uint16_t a, uint16_t b) {
  uint32_t product = 0;
  for (int bit = 0; bit < 16; ++bit) {
    product ^= (uint32_t{a} << bit) & -static_cast<uint32_t>((b >> bit) & 1);
  }
  for (int bit = 30; bit >= 16; --bit) {
    product ^= (kPolynomial << (bit - 16)) & -((product >> bit) & 1);
  }
  return static_cast<uint16_t>(product);
}

uint16_t Inverse(uint16_t a) {
  uint16_t power = a, result = 1;  // exponent 2^16 - 2: bits 1 .. 15
  for (int bit = 1; bit < 16; ++bit) {
    power = Mul(power, power);
    result = Mul(result, power);
  }
  return result;
}

Lanes Broadcast(uint16_t value) {
  Lanes lanes;
  lanes.fill(value);
  return lanes;
}

// Horner over the bits of b, highest first. The compiler makes vector code of the inner loop.
void MulInto(Lanes& a, const Lanes& b) {
  Lanes product{};
  for (int bit = 15; bit >= 0; --bit) {
    for (size_t lane = 0; lane < product.size(); ++lane) {
      const uint16_t carry = MaskOf(product[lane] >> 15);
      const uint16_t take = MaskOf(b[lane] >> bit);
      product[lane] =
          static_cast<uint16_t>((product[lane] << 1) ^ (carry & kLow) ^ (take & a[lane]));
    }
  }
  a = product;
}

void AddInto(Lanes& a, const Lanes& b) {
  for (size_t lane = 0; lane < a.size(); ++lane) a[lane] ^= b[lane];
}

Lanes InverseOf(const Lanes& a) {
  Lanes power = a, result = Broadcast(1);
  for (int bit = 1; bit < 16; ++bit) {
    const Lanes squared = power;
    MulInto(power, squared);
    MulInto(result, power);
  }
  return result;
}

}  // namespace rivulet::secagg::gf16
