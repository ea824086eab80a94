#include "privacy/crypto/secret.h"

#include <openssl/crypto.h>

#include <algorithm>

namespace rivulet {

Secret32::Secret32(std::span<const uint8_t, 32> bytes) {
  std::copy(bytes.begin(), bytes.end(), bytes_.begin());
}

Secret32::~Secret32() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

Secret32::Secret32(Secret32&& other) noexcept : bytes_(other.bytes_) {
  OPENSSL_cleanse(other.bytes_.data(), other.bytes_.size());
}

Secret32& Secret32::operator=(Secret32&& other) noexcept {
  if (this == &other) return *this;
  bytes_ = other.bytes_;
  OPENSSL_cleanse(other.bytes_.data(), other.bytes_.size());
  return *this;
}

bool operator==(const Secret32& a, const Secret32& b) {
  return CRYPTO_memcmp(a.bytes_.data(), b.bytes_.data(), a.bytes_.size()) == 0;
}

}  // namespace rivulet
