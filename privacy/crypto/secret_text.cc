#include "privacy/crypto/secret_text.h"

#include <openssl/crypto.h>

#include <utility>

namespace rivulet {

namespace {

// Short texts lie inside their object, and stay there when they are moved or cleared.
void WipeAll(std::string& bytes) {
  bytes.resize(bytes.capacity());
  OPENSSL_cleanse(bytes.data(), bytes.size());
  bytes.clear();
}

}  // namespace

SecretText::SecretText(std::string bytes) : bytes_(std::move(bytes)) { WipeAll(bytes); }

SecretText::SecretText(SecretText&& other) noexcept : bytes_(std::move(other.bytes_)) {
  other.Wipe();
}

SecretText& SecretText::operator=(const SecretText& other) {
  if (this == &other) return *this;
  Wipe();
  bytes_ = other.bytes_;
  return *this;
}

SecretText& SecretText::operator=(SecretText&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  if (this != &other) other.Wipe();
  return *this;
}

void SecretText::Wipe() { WipeAll(bytes_); }

}  // namespace rivulet
