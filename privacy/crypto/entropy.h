#pragma once

#include <span>

#include "privacy/crypto/secret.h"

namespace rivulet {

// Where secrets come from. A seam: tests of state machines repeat a run byte for byte.
class Entropy {
 public:
  virtual ~Entropy() = default;
  virtual void Fill(std::span<uint8_t> out) = 0;
  Secret32 Secret();  // 32 bytes of Fill
};

// The operating system's generator (RAND_priv_bytes). Ends the process when it fails. Thread safe.
Entropy& SystemEntropy();

}  // namespace rivulet
