#include "client/upload/secret_rounding.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "privacy/crypto/random_bytes.h"

namespace rivulet {
namespace {

constexpr size_t kKeyBytes = 32, kCounterBytes = 16;
constexpr size_t kMostWords = size_t{1} << 26;  // of one call: OpenSSL counts in int

struct FreeCipher {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }  // and cleanse
};

class SecretRounding final : public RoundingSource {
 public:
  SecretRounding() : cipher_(EVP_CIPHER_CTX_new()) {
    std::string seed = SecretBytes(kKeyBytes + kCounterBytes);
    const auto* const key = reinterpret_cast<const uint8_t*>(seed.data());
    const bool ready = cipher_ != nullptr && EVP_EncryptInit_ex(cipher_.get(), EVP_aes_256_ctr(),
                                                                nullptr, key, key + kKeyBytes) == 1;
    OPENSSL_cleanse(seed.data(), seed.size());
    if (!ready) std::abort();
  }

  void Fill(std::span<uint32_t> words) override {
    while (!words.empty()) {
      const std::span<uint32_t> now = words.first(std::min(words.size(), kMostWords));
      auto* const bytes = reinterpret_cast<uint8_t*>(now.data());
      const int size = static_cast<int>(now.size_bytes());
      std::memset(bytes, 0, now.size_bytes());
      int made = 0;
      if (EVP_EncryptUpdate(cipher_.get(), bytes, &made, bytes, size) != 1 || made != size) {
        std::abort();
      }
      words = words.subspan(now.size());
    }
  }

 private:
  std::unique_ptr<EVP_CIPHER_CTX, FreeCipher> cipher_;
};

}  // namespace

std::unique_ptr<RoundingSource> NewSecretRounding() { return std::make_unique<SecretRounding>(); }

}  // namespace rivulet
