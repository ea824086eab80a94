// Run under valgrind: secrets are marked as undefined memory, and memcheck reports every branch and
// every index that depends on one. With the argument "branch" there is one on purpose.
#include <valgrind/memcheck.h>

#include <cstdio>
#include <string_view>

#include "privacy/secagg/shared/gf16.h"
#include "privacy/secagg/shared/mask_generator.h"
#include "privacy/secagg/shared/shamir.h"

namespace rivulet::secagg {
namespace {

class SecretNumbers final : public Entropy {
 public:
  void Fill(std::span<uint8_t> out) override {
    for (uint8_t& byte : out) byte = static_cast<uint8_t>(next_ += 37);
    (void)VALGRIND_MAKE_MEM_UNDEFINED(out.data(), out.size());
  }

 private:
  unsigned next_ = 1;
};

template <typename Object>
void Publish(const Object& object) {
  (void)VALGRIND_MAKE_MEM_DEFINED(&object, sizeof object);
}

bool Multiplies(Entropy& entropy) {
  uint16_t numbers[32];
  entropy.Fill({reinterpret_cast<uint8_t*>(numbers), sizeof numbers});
  const uint16_t product = gf16::Mul(gf16::Mul(numbers[0], numbers[1]), gf16::Inverse(numbers[1]));
  gf16::Lanes a, b;
  std::copy_n(numbers, 16, a.begin());
  std::copy_n(numbers + 16, 16, b.begin());
  gf16::MulInto(a, b);
  gf16::MulInto(a, gf16::InverseOf(b));
  const uint16_t back = a[0];
  Publish(product), Publish(back), Publish(numbers);
  return product == numbers[0] && back == numbers[0];
}

bool SharesAndOpens(Entropy& entropy) {
  const Secret32 secret = entropy.Secret();
  const std::vector<Share> shares = Split(secret, 20, 7, entropy);
  const bool equal = *Combine(shares, 7) == secret;
  Publish(equal);
  return equal;
}

bool Masks(Entropy& entropy) {
  const Mask masks[] = {{entropy.Secret(), false}, {entropy.Secret(), true}};
  RingVector vector(24, 200);
  ApplyMasks(vector, masks);
  return vector.size() == 200;
}

}  // namespace
}  // namespace rivulet::secagg

int main(int count, char** arguments) {
  rivulet::secagg::SecretNumbers entropy;
  const bool right = rivulet::secagg::Multiplies(entropy) &&
                     rivulet::secagg::SharesAndOpens(entropy) && rivulet::secagg::Masks(entropy);
  if (count > 1 && std::string_view(arguments[1]) == "branch") {
    const rivulet::Secret32 secret = entropy.Secret();
    if (secret.bytes()[0] & 1) std::puts("odd");
  }
  return right ? 0 : 2;
}
