#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

// GF(2^16) modulo x^16 + x^5 + x^3 + x + 1 (0x1002B). Addition is XOR. Operands may be secret: no
// branch and no memory index depends on them.
namespace rivulet::secagg::gf16 {

inline constexpr uint32_t kPolynomial = 0x1002B;

uint16_t Mul(uint16_t a, uint16_t b);
uint16_t Inverse(uint16_t a);  // a^(2^16 - 2); 0 for 0

// Sixteen elements at once: a secret of 32 bytes, or one quantity of sixteen holders.
using Lanes = std::array<uint16_t, 16>;
Lanes Broadcast(uint16_t value);
void MulInto(Lanes& a, const Lanes& b);  // a *= b, lane by lane
void AddInto(Lanes& a, const Lanes& b);  // a += b
Lanes InverseOf(const Lanes& a);

}  // namespace rivulet::secagg::gf16
