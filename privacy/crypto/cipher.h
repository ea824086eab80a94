#pragma once

#include <span>

#include "privacy/crypto/openssl_ptr.h"
#include "privacy/crypto/secret.h"

namespace rivulet {

using CipherContextPtr = CPtr<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;

// The keystream of AES-256 in counter mode, from the counter block `iv` on (128 bits, big endian).
// Not thread safe. Ends the process when OpenSSL fails.
class Aes256Ctr {
 public:
  Aes256Ctr(const Secret32& key, std::span<const uint8_t, 16> iv);
  void Seek(std::span<const uint8_t, 16> iv);  // goes on from this counter block
  void Keystream(std::span<uint8_t> out);      // the next bytes

 private:
  CipherContextPtr context_;
};

}  // namespace rivulet
