#include "privacy/crypto/cipher.h"

#include <algorithm>
#include <climits>

#include "privacy/crypto/must.h"

namespace rivulet {

Aes256Ctr::Aes256Ctr(const Secret32& key, std::span<const uint8_t, 16> iv)
    : context_(EVP_CIPHER_CTX_new()) {
  static EVP_CIPHER* const kCipher = EVP_CIPHER_fetch(nullptr, "AES-256-CTR", nullptr);
  MustCrypto(context_ != nullptr && EVP_EncryptInit_ex2(context_.get(), kCipher, key.bytes().data(),
                                                        iv.data(), nullptr) == 1,
             "AES-256-CTR: key");
}

void Aes256Ctr::Seek(std::span<const uint8_t, 16> iv) {
  MustCrypto(EVP_EncryptInit_ex2(context_.get(), nullptr, nullptr, iv.data(), nullptr) == 1,
             "AES-256-CTR: counter");
}

void Aes256Ctr::Keystream(std::span<uint8_t> out) {
  std::fill(out.begin(), out.end(), 0);
  while (!out.empty()) {
    const int size = static_cast<int>(std::min<size_t>(out.size(), INT_MAX & ~15));
    int written = 0;
    MustCrypto(EVP_EncryptUpdate(context_.get(), out.data(), &written, out.data(), size) == 1 &&
                   written == size,
               "AES-256-CTR");
    out = out.subspan(static_cast<size_t>(size));
  }
}

}  // namespace rivulet
