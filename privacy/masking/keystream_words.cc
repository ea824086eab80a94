#include "privacy/masking/keystream_words.h"

#include <array>
#include <cstring>
#include <vector>

#include "privacy/crypto/openssl_ptr.h"

namespace rivulet {
namespace {
using CipherContextPtr = CPtr<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;
constexpr size_t kBlockWords = 4;
}  // namespace

void KeystreamWords::Fill(uint64_t first, std::span<uint32_t> words) const {
  const uint64_t block = first / kBlockWords;
  const size_t skip = first % kBlockWords;
  std::array<uint8_t, 16> counter{};
  for (size_t byte = 0; byte < 8; ++byte) {
    counter[15 - byte] = static_cast<uint8_t>(block >> (8 * byte));
  }
  std::vector<uint32_t> stream((skip + words.size() + kBlockWords - 1) / kBlockWords * kBlockWords);
  auto* const bytes = reinterpret_cast<uint8_t*>(stream.data());
  const CipherContextPtr context(EVP_CIPHER_CTX_new());
  int written = 0;
  const bool done = context != nullptr &&
                    EVP_EncryptInit_ex(context.get(), EVP_aes_256_ctr(), nullptr,
                                       key_.bytes().data(), counter.data()) == 1 &&
                    EVP_EncryptUpdate(context.get(), bytes, &written, bytes,
                                      static_cast<int>(stream.size() * sizeof(uint32_t))) == 1;
  if (!done) std::abort();  // no memory for a cipher: nothing sound can follow
  std::memcpy(words.data(), stream.data() + skip, words.size_bytes());
}

}  // namespace rivulet
