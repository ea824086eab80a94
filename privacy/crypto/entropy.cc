#include "privacy/crypto/entropy.h"

#include <openssl/rand.h>

#include <algorithm>
#include <climits>

#include "privacy/crypto/must.h"

namespace rivulet {
namespace {

class OperatingSystem final : public Entropy {
 public:
  void Fill(std::span<uint8_t> out) override {
    while (!out.empty()) {
      const int size = static_cast<int>(std::min<size_t>(out.size(), INT_MAX));
      MustCrypto(RAND_priv_bytes(out.data(), size) == 1, "the system's random generator");
      out = out.subspan(static_cast<size_t>(size));
    }
  }
};

}  // namespace

Secret32 Entropy::Secret() {
  Secret32 secret;
  Fill(secret.mutable_bytes());
  return secret;
}

Entropy& SystemEntropy() {
  static OperatingSystem system;
  return system;
}

}  // namespace rivulet
