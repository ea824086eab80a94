#include "privacy/dp/word_source.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <bit>
#include <cstdio>
#include <cstdlib>

#include "privacy/crypto/openssl_ptr.h"

namespace rivulet {
namespace {

static_assert(std::endian::native == std::endian::little);  // the keystream is read as it lies

[[noreturn]] void EndForWantOfWords(const char* why) {
  std::fprintf(stderr, "random words: %s\n", why);
  std::abort();  // going on without them would publish data without noise
}

}  // namespace

struct AesWords::Cipher {
  CPtr<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free> context;  // wipes the key schedule
};

AesWords::AesWords(Key key, uint64_t block) : cipher_(std::make_unique<Cipher>()) {
  uint8_t counter[16] = {};
  for (int byte = 0; byte < 8; ++byte) {
    counter[byte] = static_cast<uint8_t>(block >> (56 - 8 * byte));
  }
  cipher_->context.reset(EVP_CIPHER_CTX_new());
  if (cipher_->context == nullptr || EVP_EncryptInit_ex(cipher_->context.get(), EVP_aes_256_ctr(),
                                                        nullptr, key.data(), counter) != 1) {
    EndForWantOfWords("AES-256-CTR did not start");
  }
  buffer_.fill(0);
}

AesWords::~AesWords() { OPENSSL_cleanse(buffer_.data(), sizeof buffer_); }

void AesWords::Refill() {
  buffer_.fill(0);
  auto* bytes = reinterpret_cast<unsigned char*>(buffer_.data());
  int written = 0;
  if (EVP_EncryptUpdate(cipher_->context.get(), bytes, &written, bytes,
                        static_cast<int>(sizeof buffer_)) != 1 ||
      written != static_cast<int>(sizeof buffer_)) {
    EndForWantOfWords("AES-256-CTR failed");
  }
  ++refills_;
  at_ = buffer_.data();
  end_ = at_ + buffer_.size();
}

uint64_t AesWords::consumed() const {
  return refills_ * kBuffer - static_cast<uint64_t>(end_ - at_);
}

void ListedWords::Refill() {
  if (given_ || words_.empty()) EndForWantOfWords("the list has run out");
  given_ = true;
  at_ = words_.data();
  end_ = at_ + words_.size();
}

}  // namespace rivulet
