#include "privacy/dp/noise_seed.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstdlib>
#include <cstring>

#include "common/io/sha256.h"
#include "privacy/crypto/random_bytes.h"

namespace rivulet {

NoiseSeed NoiseSeed::Fresh() {
  std::string bytes = SecretBytes(kBytes);
  NoiseSeed seed;
  std::memcpy(seed.bytes_, bytes.data(), kBytes);
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return seed;
}

absl::StatusOr<NoiseSeed> NoiseSeed::FromStored(std::string_view bytes) {
  if (bytes.size() != kBytes) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "noise seed: got " + std::to_string(bytes.size()) + " bytes, want 32");
  }
  NoiseSeed seed;
  std::memcpy(seed.bytes_, bytes.data(), kBytes);
  return seed;
}

NoiseSeed::NoiseSeed(NoiseSeed&& other) noexcept { *this = std::move(other); }

NoiseSeed& NoiseSeed::operator=(NoiseSeed&& other) noexcept {
  if (this != &other) {
    std::memcpy(bytes_, other.bytes_, kBytes);
    OPENSSL_cleanse(other.bytes_, kBytes);
  }
  return *this;
}

NoiseSeed::~NoiseSeed() { OPENSSL_cleanse(bytes_, kBytes); }

AesWords NoiseSeed::Words(std::string_view purpose, uint64_t block) const {
  const std::string text = std::string("rvl1/noise") + '\0' + std::string(purpose);
  uint8_t key[32];
  unsigned int size = 0;
  if (HMAC(EVP_sha256(), bytes_, kBytes, reinterpret_cast<const uint8_t*>(text.data()), text.size(),
           key, &size) == nullptr ||
      size != sizeof key) {
    std::abort();  // no noise without a key
  }
  struct Wipe {
    uint8_t* key;
    ~Wipe() { OPENSSL_cleanse(key, 32); }
  } wipe{key};
  return AesWords(AesWords::Key(key), block);
}

NoiseSeed NoiseSeed::Derive(std::string_view part) const {
  AesWords words = Words("seed/" + std::string(part));
  NoiseSeed seed;
  for (size_t at = 0; at < kBytes; at += sizeof(uint64_t)) {
    uint64_t word = words.Next();
    std::memcpy(seed.bytes_ + at, &word, sizeof word);
    OPENSSL_cleanse(&word, sizeof word);
  }
  return seed;
}

std::string NoiseSeed::Commitment() const {
  std::string text = std::string("rvl1/noise-commitment") + '\0';
  text.reserve(text.size() + kBytes);  // one buffer to wipe
  text.append(bytes_, kBytes);
  std::string commitment = Sha256Hex(text);
  OPENSSL_cleanse(text.data(), text.size());
  return commitment;
}

}  // namespace rivulet
